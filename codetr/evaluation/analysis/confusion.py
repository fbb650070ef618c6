"""Confusion matrix of detections and objects, with the background as one more class.

At the operating point and IoU 0.50. True positives of the metrics keep their objects, so that the diagonal is what
counts as detected everywhere else; the remaining detections, from the highest score down, are each assigned the free
object with the highest IoU, of any class. An object without a detection is missed (detected as background), a detection
without an object is background detected as its class. Detections that the metrics ignore are left out: in a federated
dataset two classes can only be confused in images in which both are verified.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.analysis.tide import FOREGROUND_IOU, Errors
from codetr.evaluation.metrics.iou import overlapping_boxes
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable


@dataclass(frozen=True)
class Confusion:
    """The entries of a confusion matrix that are not 0, by class of the object, then of the detection.

    Attributes:
        score: detections with at least this score are counted.
        classes: number of classes, which is also the position of the background.
        gt_label: (entries,) class of the objects.
        dt_label: (entries,) class that they are detected as.
        count: (entries,) number of objects.
    """

    score: float
    classes: int
    gt_label: NDArray[np.int64]
    dt_label: NDArray[np.int64]
    count: NDArray[np.int64]

    def pairs(self) -> NDArray[np.int64]:
        """Return class of the object, another class it is detected as, and count: (pairs, 3), most frequent first."""
        confused = (self.gt_label != self.dt_label) & (self.gt_label < self.classes) & (self.dt_label < self.classes)
        table = np.column_stack([self.gt_label, self.dt_label, self.count])[confused]
        return table[np.argsort(-table[:, 2], kind="stable")]

    def matrix(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the matrix of some classes alone, (labels + 1, labels + 1): objects by detections, background last."""
        position = np.full(self.classes + 1, -1)
        position[labels] = np.arange(len(labels))
        position[self.classes] = len(labels)
        row, column = position[self.gt_label], position[self.dt_label]
        included = (row >= 0) & (column >= 0)
        table = np.zeros((len(labels) + 1, len(labels) + 1), np.int64)
        table[row[included], column[included]] = self.count[included]
        return table

    def most_confused(self, most: int) -> NDArray[np.int64]:
        """Return up to `most` classes, ascending: all if there are no more, else those confused most often."""
        if self.classes <= most:
            return np.arange(self.classes)
        pairs = self.pairs()
        times = np.bincount(pairs[:, 0], pairs[:, 2], self.classes) + np.bincount(
            pairs[:, 1], pairs[:, 2], self.classes
        )
        ranked = np.argsort(-times, kind="stable")[:most]
        return np.sort(ranked[times[ranked] > 0])


def find_confusion(truth: GroundTruth, predictions: PredictionTable, errors: Errors, score: float) -> Confusion:
    """Count objects by their class and the class they are detected as.

    Args:
        truth: ground truth.
        predictions: detections.
        errors: their errors.
        score: detections with at least this score are counted.
    """
    matches = errors.matches
    detected = errors.gt_score >= max(score, -np.finfo(float).max)
    open_rows = np.flatnonzero((errors.kind >= 0) & (matches.score >= score))
    open_rows = open_rows[np.argsort(matches.image[open_rows], kind="stable")]
    objects = np.flatnonzero(~detected)
    objects = objects[np.argsort(truth.image[errors.gt_index[objects]], kind="stable")]
    dt_boxes_xywh = predictions.boxes()[matches.dt_index[open_rows]]
    gt_image, gt_boxes_xywh = truth.image[errors.gt_index[objects]], truth.boxes_xywh[errors.gt_index[objects]]
    first, last = (np.searchsorted(gt_image, matches.image[open_rows], side=side) for side in ("left", "right"))
    iscrowd = np.zeros(len(objects), bool)
    detection, gt, iou = overlapping_boxes(dt_boxes_xywh, gt_boxes_xywh, iscrowd, first, last, FOREGROUND_IOU)
    assigned = np.full(len(objects), -1)
    done: set[int] = set()
    # Few pairs remain here: objects without a detection of their class, and what overlaps them.
    for pair in np.lexsort((-iou, detection, -matches.score[open_rows[detection]])).tolist():
        row, column = int(detection[pair]), int(gt[pair])
        if row not in done and assigned[column] < 0:
            assigned[column] = row
            done.add(row)

    background = errors.classes
    correct = errors.gt_label[detected]
    missed = errors.gt_label[objects[assigned < 0]]
    confused = errors.gt_label[objects[assigned >= 0]]
    free = np.ones(len(open_rows), bool)
    free[assigned[assigned >= 0]] = False
    label = matches.label[open_rows]
    rows = np.concatenate([correct, confused, missed, np.full(int(free.sum()), background)])
    columns = np.concatenate([correct, label[assigned[assigned >= 0]], np.full(len(missed), background), label[free]])
    keys, count = np.unique(rows * (background + 1) + columns, return_counts=True)
    return Confusion(score, background, keys // (background + 1), keys % (background + 1), count)
