"""Calibration: whether, of the detections with score 0.8, 80 % are true positives.

Expected calibration error (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2) as it is used
for detectors (Küppers et al., "Multivariate Confidence Calibration for Object Detection", CVPR workshops 2020), with
precision at IoU 0.50 instead of accuracy. Its value depends on which detections are included; a detector that gives
hundreds for each image has scores near 0 for most, which are well calibrated. It is therefore also given for the
detections at the operating point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.metrics.metric_spec import IOU50
from codetr.evaluation.metrics.true_positives import Matches

BINS = 20


@dataclass(frozen=True)
class Calibration:
    """Scores and precision of the detections that count.

    Attributes:
        count: (bins,) detections in each of `BINS` equal ranges of scores.
        confidence: (bins,) their mean score, 0 where there are none.
        precision: (bins,) the share of true positives among them.
        ece: expected calibration error: mean over detections of |confidence - precision| of their bin; None without
            detections.
        class_count: (classes,) detections of each class.
        overconfidence: (classes,) mean score less precision.
        class_ece: (classes,) as `ece`. Of few detections it is too high by chance.
    """

    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    precision: NDArray[np.float64]
    ece: float | None
    class_count: NDArray[np.int64]
    overconfidence: NDArray[np.float64]
    class_ece: NDArray[np.float64]


def calibrate(matches: Matches, min_score: float = 0.0) -> Calibration:
    """Compare scores with precision at IoU 0.50.

    Args:
        matches: true and false positives.
        min_score: detections with at least this score are included.
    """
    classes = len(matches.category_ids)
    included = (matches.tp[IOU50] | matches.fp[IOU50]) & (matches.score >= min_score)
    score, tp, label = matches.score[included], matches.tp[IOU50, included], matches.label[included]
    score_bin = np.clip((score * BINS).astype(np.int64), 0, BINS - 1)
    key = label * BINS + score_bin
    count, score_sum, tp_sum = (
        np.bincount(key, weights, classes * BINS).reshape(classes, BINS) for weights in (None, score, tp)
    )
    in_class, in_bin = count.sum(axis=1), count.sum(axis=0)
    total = int(in_bin.sum())
    return Calibration(
        count=in_bin.astype(np.int64),
        confidence=score_sum.sum(axis=0) / np.maximum(in_bin, 1),
        precision=tp_sum.sum(axis=0) / np.maximum(in_bin, 1),
        ece=float(np.abs(score_sum.sum(axis=0) - tp_sum.sum(axis=0)).sum() / total) if total else None,
        class_count=in_class.astype(np.int64),
        overconfidence=(score_sum - tp_sum).sum(axis=1) / np.maximum(in_class, 1),
        class_ece=np.abs(score_sum - tp_sum).sum(axis=1) / np.maximum(in_class, 1),
    )
