"""Whether a score means what it says: of the detections with score 0.8, are 80 % right?

Expected calibration error (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2) as it is used
for detectors (Küppers et al., "Multivariate Confidence Calibration for Object Detection", CVPR workshops 2020): the
share that is right at IoU 0.50 takes the place of accuracy. Its value depends on which detections are looked at; of a
detector that gives hundreds for each image most have scores near 0 and are rightly so sure of nothing. It is therefore
also given for the detections that are used, those at the operating point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.metrics.operating_point import Matches

BINS = 20


@dataclass(frozen=True)
class Calibration:
    """Scores beside shares of right detections, over those that count.

    Attributes:
        count: (bins,) detections in each of `BINS` equal ranges of scores.
        confidence: (bins,) their mean score, 0 where there are none.
        right: (bins,) the share of them that is right.
        ece: mean over detections of the difference of the two in their bin; None without detections.
        class_count: (classes,) detections of each class.
        class_gap: (classes,) mean score less the share that is right: above 0 the detector is too sure of itself.
        class_ece: (classes,) as `ece`. Of few detections it is too high by chance.
    """

    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    right: NDArray[np.float64]
    ece: float | None
    class_count: NDArray[np.int64]
    class_gap: NDArray[np.float64]
    class_ece: NDArray[np.float64]


def calibrate(matches: Matches, least: float = 0.0) -> Calibration:
    """Compare scores with outcomes at IoU 0.50.

    Args:
        matches: every detection with whether it is right.
        least: detections with at least this score are looked at.
    """
    classes = len(matches.category_ids)
    taken = ~matches.ignored[0] & (matches.score >= least)
    score, right, label = matches.score[taken], matches.right[0, taken], matches.detection_class[taken]
    place = np.clip((score * BINS).astype(np.int64), 0, BINS - 1)
    key = label * BINS + place
    count, scores, hits = (
        np.bincount(key, weights, classes * BINS).reshape(classes, BINS) for weights in (None, score, right)
    )
    in_class, in_bin = count.sum(axis=1), count.sum(axis=0)
    total = int(in_bin.sum())
    return Calibration(
        count=in_bin.astype(np.int64),
        confidence=scores.sum(axis=0) / np.maximum(in_bin, 1),
        right=hits.sum(axis=0) / np.maximum(in_bin, 1),
        ece=float(np.abs(scores.sum(axis=0) - hits.sum(axis=0)).sum() / total) if total else None,
        class_count=in_class.astype(np.int64),
        class_gap=(scores - hits).sum(axis=1) / np.maximum(in_class, 1),
        class_ece=np.abs(scores - hits).sum(axis=1) / np.maximum(in_class, 1),
    )
