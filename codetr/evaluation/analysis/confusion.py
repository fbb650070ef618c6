"""Which class is taken for which: a confusion matrix of detections and objects, with the background as one more class.

At the operating point and IoU 0.50. Who is right in the metrics keeps its object, so that the diagonal is what counts
as found everywhere else; the remaining detections, from the highest score down, each take the free object they
overlap most, of whatever class. An object nobody takes is missed (taken for background), a detection that takes none
is background taken for its class. Detections that do not count in the metrics are left out: in a federated dataset two
classes can only be confused in images in which both are verified.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.analysis.tide import FOREGROUND_IOU, Errors
from codetr.evaluation.metrics.iou import overlapping_boxes
from codetr.evaluation.metrics.matching import Matching
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import Predictions


@dataclass(frozen=True)
class Confusion:
    """The entries of the matrix that are not 0, by class of the object, then of the detection.

    Attributes:
        score: detections with at least this score are counted.
        classes: number of classes, which is also the position that stands for the background.
        truth: (entries,) class of the objects.
        found: (entries,) class they are taken for.
        count: (entries,) how many.
    """

    score: float
    classes: int
    truth: NDArray[np.int64]
    found: NDArray[np.int64]
    count: NDArray[np.int64]

    def pairs(self) -> NDArray[np.int64]:
        """(pairs, 3) class of the object, another class it is taken for, how often: the most frequent first."""
        confused = (self.truth != self.found) & (self.truth < self.classes) & (self.found < self.classes)
        table = np.column_stack([self.truth, self.found, self.count])[confused]
        return table[np.argsort(-table[:, 2], kind="stable")]

    def matrix(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """(labels + 1, labels + 1) objects by detections of some classes alone, the last of both for the background."""
        place = np.full(self.classes + 1, -1)
        place[labels] = np.arange(len(labels))
        place[self.classes] = len(labels)
        row, column = place[self.truth], place[self.found]
        shown = (row >= 0) & (column >= 0)
        table = np.zeros((len(labels) + 1, len(labels) + 1), np.int64)
        table[row[shown], column[shown]] = self.count[shown]
        return table

    def most_confused(self, most: int) -> NDArray[np.int64]:
        """Up to `most` classes, ascending: all if there are no more, else those that are confused most often."""
        if self.classes <= most:
            return np.arange(self.classes)
        pairs = self.pairs()
        mistakes = np.bincount(pairs[:, 0], pairs[:, 2], self.classes) + np.bincount(
            pairs[:, 1], pairs[:, 2], self.classes
        )
        ranked = np.argsort(-mistakes, kind="stable")[:most]
        return np.sort(ranked[mistakes[ranked] > 0])


def find_confusion(
    truth: GroundTruth, predictions: Predictions, matching: Matching, errors: Errors, score: float
) -> Confusion:
    """Count who is taken for whom.

    Args:
        truth: ground truth.
        predictions: what was matched with it.
        matching: the result.
        errors: its mistakes.
        score: detections with at least this score are counted.
    """
    found = errors.found_at >= max(score, -np.finfo(float).max)
    open_rows = np.flatnonzero((errors.kind >= 0) & (errors.score >= score))
    open_rows = open_rows[np.argsort(errors.image[open_rows], kind="stable")]
    objects = np.flatnonzero(~found)
    objects = objects[np.argsort(truth.image[errors.sought[objects]], kind="stable")]
    boxes = predictions.boxes()[matching.detection[open_rows]]
    image, things = truth.image[errors.sought[objects]], truth.boxes_xywh[errors.sought[objects]]
    first, last = (np.searchsorted(image, errors.image[open_rows], side=side) for side in ("left", "right"))
    crowd = np.zeros(len(objects), bool)
    detection, thing, overlap = overlapping_boxes(boxes, things, crowd, first, last, FOREGROUND_IOU)
    taken_by = np.full(len(objects), -1)
    done: set[int] = set()
    # Few pairs are left here: objects that nobody of their class found, and what lies on them.
    for pair in np.lexsort((-overlap, detection, -errors.score[open_rows[detection]])).tolist():
        who, what = int(detection[pair]), int(thing[pair])
        if who not in done and taken_by[what] < 0:
            taken_by[what] = who
            done.add(who)

    background = errors.classes
    own = errors.object_label[found]
    missed = errors.object_label[objects[taken_by < 0]]
    taken = errors.object_label[objects[taken_by >= 0]]
    free = np.ones(len(open_rows), bool)
    free[taken_by[taken_by >= 0]] = False
    label = errors.label[open_rows]
    rows = np.concatenate([own, taken, missed, np.full(int(free.sum()), background)])
    columns = np.concatenate([own, label[taken_by[taken_by >= 0]], np.full(len(missed), background), label[free]])
    keys, count = np.unique(rows * (background + 1) + columns, return_counts=True)
    return Confusion(score, background, keys // (background + 1), keys % (background + 1), count)
