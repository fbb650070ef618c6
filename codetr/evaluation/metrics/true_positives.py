"""The matches that a report is about: over objects of all sizes, with the decision at IoU 0.50 for every object.

Counts at the operating point, the error analysis, pictures, overlays and the tracker's images all read it. AP and AR,
at all IoU thresholds and object sizes, come from the same `Matching` (`precision_recall`, `match_table`). The decision
holds at any score threshold: matching is greedy from the highest score down, so leaving out the detections below a
threshold does not change the matches of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.metrics.matching import Matching
from codetr.evaluation.metrics.metric_spec import ALL_AREAS, IOU50
from codetr.evaluation.tables.ground_truth import GroundTruth


@dataclass(frozen=True)
class Matches:
    """Detections and objects after matching. Classes and images are positions, not ids.

    D detections take part in the metrics, by class, then image, then falling score. A detection is a true positive, a
    false positive or ignored (it lies in a crowd region, or is of a class whose objects in the image are not all
    annotated).

    Attributes:
        image_ids: (images,) id of every image.
        category_ids: (classes,) id of every class.
        dt_index: (D,) index of each detection in the predictions.
        image: (D,) its image.
        label: (D,) its class.
        score: (D,).
        tp: (thresholds, D) bool: true positives.
        fp: (thresholds, D) bool: false positives.
        dt_matches: (D,) index in the ground truth of the object that each detection matches at IoU 0.50, -1 for none.
        gt_matches: (objects,) position among the D of the detection that matches each object at IoU 0.50, of a crowd
            region the best one; -1 for none.
        gt_ignore: (objects,) bool: objects that do not count, such as crowd regions.
        gt_group_label: (n,) class of the objects that count, one entry per class and image that has any.
        gt_group_image: (n,) their image.
        gt_group_count: (n,) how many.
    """

    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    dt_index: NDArray[np.int64]
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    tp: NDArray[np.bool_]
    fp: NDArray[np.bool_]
    dt_matches: NDArray[np.int64]
    gt_matches: NDArray[np.int64]
    gt_ignore: NDArray[np.bool_]
    gt_group_label: NDArray[np.int64]
    gt_group_image: NDArray[np.int64]
    gt_group_count: NDArray[np.int64]

    @classmethod
    def of(cls, matching: Matching, truth: GroundTruth) -> Self:
        """Return the part of a matching that is about objects of all sizes."""
        candidates, matched_gt = matching.candidates, matching.dt_matches[ALL_AREAS]
        ignored_gt = matching.gt_ignore[ALL_AREAS]
        matched = matched_gt >= 0
        tp = np.zeros((len(matched_gt), len(matching.score)), bool)
        tp[:, candidates] = matched & ~ignored_gt[matched_gt]
        fp = np.tile(~matching.dt_ignore[ALL_AREAS], (len(matched_gt), 1))
        fp[:, candidates] &= ~matched

        dt_matches = np.full(len(matching.score), -1)
        gt_matches = np.full(len(truth.image), -1)
        rows, objects = candidates[matched[IOU50]], matching.gt_index[matched_gt[IOU50][matched[IOU50]]]
        dt_matches[rows] = objects
        # Of the detections in a crowd region the first one, which has the highest score, remains.
        gt_matches[objects[::-1]] = rows[::-1]
        gt_ignore = np.ones(len(truth.image), bool)
        gt_ignore[matching.gt_index] = ignored_gt

        counting = matching.gt_index[~ignored_gt]
        images = len(truth.image_ids)
        groups, counts = np.unique(truth.label[counting] * images + truth.image[counting], return_counts=True)
        return cls(
            image_ids=truth.image_ids,
            category_ids=truth.category_ids,
            dt_index=matching.dt_index,
            image=matching.image,
            label=matching.label,
            score=matching.score,
            tp=tp,
            fp=fp,
            dt_matches=dt_matches,
            gt_matches=gt_matches,
            gt_ignore=gt_ignore,
            gt_group_label=groups // max(images, 1),
            gt_group_image=groups % max(images, 1),
            gt_group_count=counts,
        )

    @property
    def gt_scores(self) -> NDArray[np.float64]:
        """(objects,) score of the detection that matches each object at IoU 0.50, -inf where none does."""
        scores = np.full(len(self.gt_matches), -np.inf)
        matched = self.gt_matches >= 0
        scores[matched] = self.score[self.gt_matches[matched]]
        return scores
