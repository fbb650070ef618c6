"""Classify every false positive and missed object by type of error, and compute the AP each type costs.

TIDE (Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020,
section 2), at foreground IoU 0.50 and background IoU 0.10. The paper leaves open which type comes first where several
fit; its program `tidecv` decides, and is followed: localisation, then classification, then duplicate. The program also
decides which of several errors is repaired to match an object (the one with the highest score, of classification or
localisation alike), what happens to a class that a repair leaves without objects (it is not in the mean unless it
still has false positives), and that a cost below 0 is 0. In four points the metrics are followed instead, so that the
AP50 that is explained is that of the report:

- The metric decides which detections take part, which are true positives and which are ignored (those in crowd
  regions; in a federated dataset those of classes that are not verified in the image or not annotated exhaustively).
  `tidecv` uses the 100 best of each image.
- An IoU of exactly 0.50 is enough to match an object: a second detection with it is a duplicate, not a localisation
  error.
- Classes without objects are in no mean. `tidecv` gives them AP 0 if they have detections.
- Equal scores are ranked as in the metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.metrics.iou import overlapping_boxes
from codetr.evaluation.metrics.metric_spec import IOU50
from codetr.evaluation.metrics.precision_recall import average_precisions
from codetr.evaluation.metrics.true_positives import Matches
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable

TYPES = ("classification", "localisation", "both", "duplicate", "background", "missed")
CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, MISSED = range(6)

FOREGROUND_IOU, BACKGROUND_IOU = 0.5, 0.1

_CHUNK = 1 << 16
"""Detections that are compared with the objects of their images together."""


@dataclass(frozen=True)
class Errors:
    """The errors of a set of matches. D detections in the order of `matches`; objects are those that count.

    Attributes:
        matches: true and false positives.
        kind: (D,) position in `TYPES` of the error of each detection; -1 for none (true positive or ignored).
        related_gt: (D,) position among the objects of the nearest one, which the error is about; -1 for none.
        gt_index: (objects,) indices in the ground truth, ascending.
        gt_label: (objects,) class of each object.
        gt_score: (objects,) score of the detection that matches it; -inf where none does.
        covered_score: (objects,) highest score of a classification or localisation error about it, which would match
            it once repaired; -inf where there is none.
        classes: number of classes.
    """

    matches: Matches
    kind: NDArray[np.int8]
    related_gt: NDArray[np.int64]
    gt_index: NDArray[np.int64]
    gt_label: NDArray[np.int64]
    gt_score: NDArray[np.float64]
    covered_score: NDArray[np.float64]
    classes: int

    def missed(self, score: float = -np.inf) -> NDArray[np.bool_]:
        """Return which objects neither a match nor a repairable error with at least `score` covers, (objects,) bool."""
        lowest = max(score, -np.finfo(float).max)
        return (self.gt_score < lowest) & (self.covered_score < lowest)

    def counts(self, score: float = -np.inf) -> NDArray[np.int64]:
        """Return the number of errors among the detections with at least `score`, (classes, types).

        Whether a detection is an error, and of which type, does not depend on those with lower scores. An error counts
        for the class of the detection, a missed object for the class of the object.
        """
        matches = self.matches
        above = (self.kind >= 0) & (matches.score >= score)
        flat = np.bincount(matches.label[above] * len(TYPES) + self.kind[above], minlength=self.classes * len(TYPES))
        table = flat.reshape(self.classes, len(TYPES))
        table[:, MISSED] = np.bincount(self.gt_label[self.missed(score)], minlength=self.classes)
        return table


@dataclass(frozen=True)
class Costs:
    """AP50 that repairing all errors of one type, and no others, would gain (ΔAP50).

    Attributes:
        AP50: as it is; None without objects.
        types: gain by name of the type. They do not add up to what is missing: errors hide one another.
        false_positives: gain from removing all false positives.
        false_negatives: gain from counting only the objects that are detected.
    """

    AP50: float | None
    types: dict[str, float]
    false_positives: float
    false_negatives: float


def find_errors(truth: GroundTruth, predictions: PredictionTable, matches: Matches) -> Errors:
    """Classify false positives by the IoU of their boxes with the objects of their images, of any class.

    Args:
        truth: ground truth.
        predictions: detections.
        matches: their matches, by COCO's or LVIS's rules.
    """
    gt_index = np.flatnonzero(~matches.gt_ignore)
    false_positive = matches.fp[IOU50]
    rows = np.flatnonzero(false_positive)
    same, same_iou, other, other_iou = _nearest(truth, predictions, matches, rows, gt_index)
    kind = np.full(len(same), BACKGROUND, np.int8)
    kind[other_iou > BACKGROUND_IOU] = BOTH
    kind[same_iou >= FOREGROUND_IOU] = DUPLICATE
    kind[other_iou >= FOREGROUND_IOU] = CLASSIFICATION
    kind[(same_iou >= BACKGROUND_IOU) & (same_iou < FOREGROUND_IOU)] = LOCALISATION
    related = np.where(np.isin(kind, (CLASSIFICATION, BOTH)), other, same)
    related[kind == BACKGROUND] = -1
    kinds = np.full(len(matches.score), -1, np.int8)
    related_gt = np.full(len(matches.score), -1)
    kinds[rows], related_gt[rows] = kind, related

    covered_score = np.full(len(gt_index), -np.inf)
    covers = np.isin(kinds, (CLASSIFICATION, LOCALISATION))
    np.maximum.at(covered_score, related_gt[covers], matches.score[covers])
    return Errors(
        matches=matches,
        kind=kinds,
        related_gt=related_gt,
        gt_index=gt_index,
        gt_label=truth.label[gt_index],
        gt_score=matches.gt_scores[gt_index],
        covered_score=covered_score,
        classes=len(truth.category_ids),
    )


def find_costs(errors: Errors) -> Costs:
    """Repair each type of error alone and compute AP50 again (section 2.3, "oracles").

    A wrong class or box is corrected if no other detection matches the object, and of several such errors only that
    with the highest score; the others are removed, as are detections of the remaining types. Missed objects are not
    counted.
    """
    matches = errors.matches
    tp = matches.tp[IOU50]
    counted = np.flatnonzero(tp | (errors.kind >= 0))
    order = counted[np.lexsort((matches.image[counted], -matches.score[counted], matches.label[counted]))]
    objects = np.bincount(errors.gt_label, minlength=errors.classes)
    repairable = _repairable(errors)

    def measure(
        kept: NDArray[np.bool_] | None = None,
        repaired: NDArray[np.bool_] | None = None,
        remaining: NDArray[np.int64] = objects,
    ) -> float:
        rows = order if kept is None else order[kept[order]]
        label, correct = matches.label, tp
        if repaired is not None:
            label, correct = label.copy(), correct | repaired
            label[repaired] = errors.gt_label[errors.related_gt[repaired]]
            rows = rows[np.lexsort((matches.image[rows], -matches.score[rows], label[rows]))]
        return _mean_precision(label[rows], correct[rows], objects, remaining)

    base = measure()
    types = {}
    for kind, name in enumerate(TYPES[:MISSED]):
        of_kind = errors.kind == kind
        repaired = of_kind & repairable if kind in (CLASSIFICATION, LOCALISATION) else None
        types[name] = measure(~of_kind if repaired is None else ~of_kind | repaired, repaired)
    missed, undetected = (
        np.bincount(errors.gt_label[which], minlength=errors.classes)
        for which in (errors.missed(), errors.gt_score == -np.inf)
    )
    types[TYPES[MISSED]] = measure(remaining=objects - missed)
    return Costs(
        AP50=base if objects.any() else None,
        # A gain is below 0 only because precision is read at 101 recalls.
        types={name: max(value - base, 0.0) for name, value in types.items()},
        false_positives=max(measure(tp) - base, 0.0),
        false_negatives=max(measure(remaining=objects - undetected) - base, 0.0),
    )


def _nearest(
    truth: GroundTruth,
    predictions: PredictionTable,
    matches: Matches,
    rows: NDArray[np.int64],
    gt_index: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the object of the same class with the highest IoU for each detection, that IoU; the same of other classes.

    Each is (rows,). Objects are positions in `gt_index`, -1 where the IoU is below `BACKGROUND_IOU` and given as 0. Of
    equal ones the first is returned.
    """
    objects = np.argsort(truth.image[gt_index], kind="stable")
    gt_image, gt_label = truth.image[gt_index][objects], truth.label[gt_index][objects]
    gt_boxes_xywh = truth.boxes_xywh[gt_index][objects]
    iscrowd = np.zeros(len(objects), bool)
    by_image = np.argsort(matches.image[rows], kind="stable")
    nearest = np.full((2, len(rows)), -1)
    highest = np.zeros((2, len(rows)))
    boxes_xywh = predictions.boxes()
    for start in range(0, len(rows), _CHUNK):
        chunk = by_image[start : start + _CHUNK]
        image, label = matches.image[rows[chunk]], matches.label[rows[chunk]]
        first, last = (np.searchsorted(gt_image, image, side=side) for side in ("left", "right"))
        dt_boxes_xywh = boxes_xywh[matches.dt_index[rows[chunk]]]
        detection, gt, iou = overlapping_boxes(dt_boxes_xywh, gt_boxes_xywh, iscrowd, first, last, BACKGROUND_IOU)
        same = label[detection] == gt_label[gt]
        for which, part in enumerate((same, ~same)):
            part_detection, part_gt, part_iou = detection[part], gt[part], iou[part]
            by_iou = np.lexsort((-part_gt, part_iou, part_detection))
            best = by_iou[np.flatnonzero(np.diff(part_detection[by_iou], append=-1))]
            nearest[which, chunk[part_detection[best]]] = objects[part_gt[best]]
            highest[which, chunk[part_detection[best]]] = part_iou[best]
    return nearest[0], highest[0], nearest[1], highest[1]


def _repairable(errors: Errors) -> NDArray[np.bool_]:
    """Return the classification and localisation errors that match an object once they are repaired, (D,) bool."""
    covers = np.flatnonzero(np.isin(errors.kind, (CLASSIFICATION, LOCALISATION)))
    covers = covers[errors.gt_score[errors.related_gt[covers]] == -np.inf]
    order = covers[np.lexsort((-errors.matches.score[covers], errors.related_gt[covers]))]
    repairable = np.zeros(len(errors.kind), bool)
    repairable[order[np.flatnonzero(np.diff(errors.related_gt[order], prepend=-1))]] = True
    return repairable


def _mean_precision(
    label: NDArray[np.int64], tp: NDArray[np.bool_], objects: NDArray[np.int64], remaining: NDArray[np.int64]
) -> float:
    """Return AP50, mean over classes.

    Args:
        label: (detections,) class of those that count, ranked within each class, classes ascending.
        tp: (detections,) bool.
        objects: (classes,) objects of each class; those without are not in the mean.
        remaining: (classes,) how many of them are counted.
    """
    detected = np.bincount(label, minlength=len(objects))
    begins = np.cumsum(detected) - detected
    up_to = np.arange(1, len(label) + 1) - begins[label]
    values = average_precisions(up_to[tp], label[tp], np.maximum(remaining, 1))
    measured = (objects > 0) & ((remaining > 0) | (detected > 0))
    return float(values[measured].mean()) if measured.any() else 0.0
