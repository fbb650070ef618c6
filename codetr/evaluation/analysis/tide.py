"""What kind of mistake every wrong detection and every missed object is, and what AP each kind costs.

TIDE (Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020,
section 2), at foreground IoU 0.50 and background IoU 0.10. The paper leaves open which type comes first where several
fit; its program `tidecv` decides, and is followed: localisation, then classification, then duplicate. So it is in
which of several mistakes repairs an object (the one with the highest score, be it of classification or localisation),
in a class that the repair leaves without objects (it is out of the mean unless something wrong is still detected of
it) and in a cost below 0, which is taken as 0. In four things the metrics are followed instead, so that what is
explained is the AP50 of the report:

- Which detections take part, which of them are right and which do not count (those in crowd regions; in a federated
  dataset those of classes that are not verified in the image or not annotated exhaustively) is what the metric says.
  `tidecv` takes the 100 best of each image.
- An overlap of exactly 0.50 is enough to find an object: a detection that comes second there is a duplicate and not
  badly localised.
- Classes without objects are in no mean. `tidecv` gives them AP 0 if anything is detected of them.
- Equal scores are ranked as in the metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.metrics.iou import overlapping_boxes
from codetr.evaluation.metrics.matching import Matching
from codetr.evaluation.metrics.precision_recall import average_precisions
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import Predictions

TYPES = ("classification", "localisation", "both", "duplicate", "background", "missed")
CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, MISSED = range(6)

FOREGROUND_IOU, BACKGROUND_IOU = 0.5, 0.1

_CHUNK = 1 << 16
"""Detections that are compared with the objects of their images together."""


@dataclass(frozen=True)
class Errors:
    """The mistakes of a matching. Detections are in its order; objects are those to be found, crowd regions left out.

    Attributes:
        label: (detections,) class of each detection.
        image: (detections,) its image.
        score: (detections,).
        right: (detections,) bool: finds an object of its class.
        kind: (detections,) position in `TYPES` of what is wrong with it; -1 for nothing (it is right or not counted).
        about: (detections,) position among the objects of the one that a mistake is about, the nearest; -1 for none.
        sought: (objects,) positions in the ground truth, ascending.
        object_label: (objects,) class of each object.
        found_at: (objects,) score of the detection that finds it; -inf where none does.
        covered_at: (objects,) highest score of a mistake of classification or localisation about it, which repaired
            would find it; -inf where there is none.
        classes: number of classes.
    """

    label: NDArray[np.int64]
    image: NDArray[np.int64]
    score: NDArray[np.float64]
    right: NDArray[np.bool_]
    kind: NDArray[np.int8]
    about: NDArray[np.int64]
    sought: NDArray[np.int64]
    object_label: NDArray[np.int64]
    found_at: NDArray[np.float64]
    covered_at: NDArray[np.float64]
    classes: int

    def missed(self, score: float = -np.inf) -> NDArray[np.bool_]:
        """(objects,) neither found nor covered by a detection with at least `score`."""
        least = max(score, -np.finfo(float).max)
        return (self.found_at < least) & (self.covered_at < least)

    def counts(self, score: float = -np.inf) -> NDArray[np.int64]:
        """(classes, types) number of mistakes among the detections with at least `score`.

        That a detection is a mistake, and of which type, does not depend on those with lower scores. A mistake counts
        for the class that is detected, a missed object for its own.
        """
        taken = (self.kind >= 0) & (self.score >= score)
        flat = np.bincount(self.label[taken] * len(TYPES) + self.kind[taken], minlength=self.classes * len(TYPES))
        table = flat.reshape(self.classes, len(TYPES))
        table[:, MISSED] = np.bincount(self.object_label[self.missed(score)], minlength=self.classes)
        return table


@dataclass(frozen=True)
class Costs:
    """AP50 that would be gained by repairing all mistakes of a kind and no others.

    Attributes:
        AP50: as it is; None without objects.
        types: gain by name of the type. They do not add up to what is missing: mistakes hide one another.
        false_positives: gain from taking out everything that is wrong.
        false_negatives: gain from counting only the objects that are found.
    """

    AP50: float | None
    types: dict[str, float]
    false_positives: float
    false_negatives: float


def find_errors(truth: GroundTruth, predictions: Predictions, matching: Matching) -> Errors:
    """Tell mistakes by how the boxes of wrong detections overlap the objects of their images, of whatever class.

    Args:
        truth: ground truth.
        predictions: what was matched with it.
        matching: the result, by COCO's or LVIS's rules.
    """
    skipped, found = matching.skipped[0], matching.found[0, 0]
    right = np.zeros(len(matching.score), bool)
    wrong = ~matching.uncounted[0]
    hit = found >= 0
    counts = hit & ~skipped[found]
    wrong[matching.candidates[hit]] = False
    right[matching.candidates[counts]] = True

    sought = np.sort(matching.objects[~skipped])
    found_at = np.full(len(sought), -np.inf)
    place = np.searchsorted(sought, matching.objects[found[counts]])
    found_at[place] = matching.score[matching.candidates[counts]]

    own, own_iou, other, other_iou = _nearest(truth, predictions, matching, np.flatnonzero(wrong), sought)
    kind = np.full(len(own), BACKGROUND, np.int8)
    kind[other_iou > BACKGROUND_IOU] = BOTH
    kind[own_iou >= FOREGROUND_IOU] = DUPLICATE
    kind[other_iou >= FOREGROUND_IOU] = CLASSIFICATION
    kind[(own_iou >= BACKGROUND_IOU) & (own_iou < FOREGROUND_IOU)] = LOCALISATION
    about = np.where(np.isin(kind, (CLASSIFICATION, BOTH)), other, own)
    about[kind == BACKGROUND] = -1
    kinds = np.full(len(right), -1, np.int8)
    abouts = np.full(len(right), -1)
    kinds[wrong], abouts[wrong] = kind, about

    covered_at = np.full(len(sought), -np.inf)
    covers = np.isin(kinds, (CLASSIFICATION, LOCALISATION))
    np.maximum.at(covered_at, abouts[covers], matching.score[covers])
    return Errors(
        label=matching.label,
        image=matching.image,
        score=matching.score,
        right=right,
        kind=kinds,
        about=abouts,
        sought=sought,
        object_label=truth.label[sought],
        found_at=found_at,
        covered_at=covered_at,
        classes=len(truth.category_ids),
    )


def find_costs(errors: Errors) -> Costs:
    """Repair each kind of mistake by itself and measure AP50 again (section 2.3, "oracles").

    A wrong class or place is put right if the object is found by no other detection, and by the highest of several
    such mistakes; the others are taken out, as are detections of the remaining types. Missed objects are not counted.
    """
    counted = np.flatnonzero(errors.right | (errors.kind >= 0))
    order = counted[np.lexsort((errors.image[counted], -errors.score[counted], errors.label[counted]))]
    objects = np.bincount(errors.object_label, minlength=errors.classes)
    heir = _heirs(errors)

    def measure(
        kept: NDArray[np.bool_] | None = None,
        repaired: NDArray[np.bool_] | None = None,
        left: NDArray[np.int64] = objects,
    ) -> float:
        rows = order if kept is None else order[kept[order]]
        label, right = errors.label, errors.right
        if repaired is not None:
            label, right = label.copy(), right | repaired
            label[repaired] = errors.object_label[errors.about[repaired]]
            rows = rows[np.lexsort((errors.image[rows], -errors.score[rows], label[rows]))]
        return _mean_precision(label[rows], right[rows], objects, left)

    base = measure()
    types = {}
    for kind, name in enumerate(TYPES[:MISSED]):
        mistakes = errors.kind == kind
        repaired = mistakes & heir if kind in (CLASSIFICATION, LOCALISATION) else None
        types[name] = measure(~mistakes if repaired is None else ~mistakes | repaired, repaired)
    missed, lost = (
        np.bincount(errors.object_label[which], minlength=errors.classes)
        for which in (errors.missed(), errors.found_at == -np.inf)
    )
    types[TYPES[MISSED]] = measure(left=objects - missed)
    return Costs(
        AP50=base if objects.any() else None,
        # Below 0 only by the 101 points at which precision is read.
        types={name: max(value - base, 0.0) for name, value in types.items()},
        false_positives=max(measure(errors.right) - base, 0.0),
        false_negatives=max(measure(left=objects - lost) - base, 0.0),
    )


def _nearest(
    truth: GroundTruth,
    predictions: Predictions,
    matching: Matching,
    rows: NDArray[np.int64],
    sought: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """(rows,) the object of its own class that each detection overlaps most and by how much; the same of others.

    Objects are positions in `sought`, -1 where the overlap is below `BACKGROUND_IOU` and given as 0. Of several the
    first is taken.
    """
    things = np.argsort(truth.image[sought], kind="stable")
    thing_image, thing_label = truth.image[sought][things], truth.label[sought][things]
    thing_boxes = truth.boxes_xywh[sought][things]
    crowd = np.zeros(len(things), bool)
    by_image = np.argsort(matching.image[rows], kind="stable")
    nearest = np.full((2, len(rows)), -1)
    most = np.zeros((2, len(rows)))
    boxes = predictions.boxes()
    for start in range(0, len(rows), _CHUNK):
        chunk = by_image[start : start + _CHUNK]
        image, label = matching.image[rows[chunk]], matching.label[rows[chunk]]
        first, last = (np.searchsorted(thing_image, image, side=side) for side in ("left", "right"))
        detected = boxes[matching.detection[rows[chunk]]]
        detection, thing, overlap = overlapping_boxes(detected, thing_boxes, crowd, first, last, BACKGROUND_IOU)
        same = label[detection] == thing_label[thing]
        for which, part in enumerate((same, ~same)):
            who, what, much = detection[part], thing[part], overlap[part]
            by_overlap = np.lexsort((-what, much, who))
            best = by_overlap[np.flatnonzero(np.diff(who[by_overlap], append=-1))]
            nearest[which, chunk[who[best]]] = things[what[best]]
            most[which, chunk[who[best]]] = much[best]
    return nearest[0], most[0], nearest[1], most[1]


def _heirs(errors: Errors) -> NDArray[np.bool_]:
    """(detections,) the mistakes of classification or localisation that find an object once they are repaired."""
    covers = np.flatnonzero(np.isin(errors.kind, (CLASSIFICATION, LOCALISATION)))
    covers = covers[errors.found_at[errors.about[covers]] == -np.inf]
    order = covers[np.lexsort((-errors.score[covers], errors.about[covers]))]
    heir = np.zeros(len(errors.kind), bool)
    heir[order[np.flatnonzero(np.diff(errors.about[order], prepend=-1))]] = True
    return heir


def _mean_precision(
    label: NDArray[np.int64], right: NDArray[np.bool_], objects: NDArray[np.int64], left: NDArray[np.int64]
) -> float:
    """AP50, mean over classes.

    Args:
        label: (detections,) class of those that count, ranked within each class, classes ascending.
        right: (detections,) bool.
        objects: (classes,) objects of each class; those without are not in the mean.
        left: (classes,) how many of them are to be found.
    """
    detected = np.bincount(label, minlength=len(objects))
    begins = np.cumsum(detected) - detected
    up_to = np.arange(1, len(label) + 1) - begins[label]
    values = average_precisions(up_to[right], label[right], np.maximum(left, 1))
    measured = (objects > 0) & ((left > 0) | (detected > 0))
    return float(values[measured].mean()) if measured.any() else 0.0
