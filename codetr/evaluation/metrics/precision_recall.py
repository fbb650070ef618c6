"""From matched detections to precision and recall, summed up as COCO's and LVIS's programs do it.

Precision at a recall is interpolated: the highest precision at this or any higher recall, at 101 recalls. It can only
change where an object is found, so that of all detections those that find one are enough, together with how many
counted detections came before each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.metrics.matching import AREA_RANGES, IOU_THRESHOLDS, Matching

RECALL_THRESHOLDS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Curves:
    """Precision and recall of every class; -1 where a class has no object to be found.

    Attributes:
        precision: (thresholds, recalls, classes, ranges).
        recall: (thresholds, classes, ranges) the highest recall.
        objects: (classes, ranges) number of objects to be found.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    objects: NDArray[np.int64]


def trace(matching: Matching, object_labels: NDArray[np.int64], classes: int) -> Curves:
    """Precision and recall of every class, over thresholds and ranges.

    Args:
        matching: who found whom.
        object_labels: (objects,) class of every object of `matching`.
        classes: number of classes.
    """
    thresholds, ranges = len(IOU_THRESHOLDS), len(AREA_RANGES)
    precision = np.full((thresholds, len(RECALL_THRESHOLDS), classes, ranges), -1.0)
    recall = np.full((thresholds, classes, ranges), -1.0)
    objects = np.stack([np.bincount(object_labels[~row], minlength=classes) for row in matching.skipped], axis=1)

    # One ranking for each class, over all images.
    order = np.lexsort((-matching.score, matching.label))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    by_place = np.argsort(place[matching.candidates])
    candidates = matching.candidates[by_place]
    at = place[candidates]
    label = matching.label[candidates]
    begins = np.searchsorted(matching.label[order], np.arange(classes))
    for a in range(ranges):
        counted = ~matching.uncounted[a]
        before = np.cumsum(counted[order])
        offset = np.concatenate([[0], before])[begins]
        present = objects[:, a] > 0
        needed = hits_for_recall(objects[:, a])
        for t in range(thresholds):
            found = matching.found[a, t, by_place]
            hit = found >= 0
            right = hit & ~matching.skipped[a, found]
            # Whoever finds something counts by what it finds, and no longer by its own size.
            change = np.where(hit, right.astype(np.int64) - counted[candidates], 0)
            total = before[at] + _running_sum(change, label, classes) - offset[label]
            of = label[right]
            curve, first, hits = _envelope(total[right], of, classes)
            reached = needed <= hits[:, None]
            values = np.where(reached, curve[np.where(reached, first[:, None] + needed - 1, 0)], 0.0)
            precision[t, :, present, a] = values[present]
            recall[t, present, a] = hits[present] / objects[present, a]
    return Curves(precision, recall, objects)


def recall_within(matching: Matching, objects: NDArray[np.int64], most: int) -> NDArray[np.float64]:
    """(thresholds, classes) recall with only the `most` best detections of each class and image; -1 without objects.

    Args:
        matching: who found whom.
        objects: (classes,) number of objects to be found, of all sizes.
        most: number of detections.
    """
    early = matching.rank[matching.candidates] < most
    label = matching.label[matching.candidates]
    recall = np.full((len(IOU_THRESHOLDS), len(objects)), -1.0)
    for t in range(len(IOU_THRESHOLDS)):
        found = matching.found[0, t]
        right = early & (found >= 0) & ~matching.skipped[0, found]
        hits = np.bincount(label[right], minlength=len(objects))
        recall[t, objects > 0] = hits[objects > 0] / objects[objects > 0]
    return recall


def average_precisions(
    total: NDArray[np.int64], group: NDArray[np.int64], objects: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(groups,) area under the interpolated curve of each of many rankings, at one threshold.

    Args:
        total: (n,) for every detection that finds an object, in the order of its ranking: how many detections count
            up to and with it.
        group: (n,) the ranking it belongs to, non-decreasing.
        objects: (groups,) number of objects to be found, at least one each.
    """
    curve, first, hits = _envelope(total, group, len(objects))
    number = np.arange(1, len(total) + 1) - np.repeat(first, hits)
    # Each object that is found adds the recalls between the one before and itself; the first begins at recall 0.
    covered = np.searchsorted(RECALL_THRESHOLDS, number / objects[group], side="right")
    gained = covered - np.where(number > 1, np.concatenate([[0], covered])[:-1], 0)
    area = np.bincount(group, weights=curve[:-1] * gained, minlength=len(objects))
    return area / len(RECALL_THRESHOLDS)


def mean(values: NDArray[np.float64]) -> float | None:
    """Mean of the entries that say something, those that are not -1; `None` if there is none."""
    values = values[values > -1]
    return float(np.mean(values)) if values.size else None


def _envelope(
    total: NDArray[np.int64], group: NDArray[np.int64], groups: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Highest precision at or after each found object (with a 0 behind); where groups begin and how long they are."""
    hits = np.bincount(group, minlength=groups)
    first = np.cumsum(hits) - hits
    number = np.arange(1, len(total) + 1) - np.repeat(first, hits)
    # The tiny summand is the reference programs', who divide where nothing was counted yet, and changes the last bit.
    precision = number / (total + np.spacing(1))
    step = 1
    while step < hits.max(initial=0):
        together = group[step:] == group[:-step]
        precision[:-step] = np.maximum(precision[:-step], np.where(together, precision[step:], 0.0))
        step *= 2
    return np.append(precision, 0.0), first, hits


def hits_for_recall(objects: NDArray[np.int64]) -> NDArray[np.int64]:
    """(classes, recalls) how many objects must be found for a recall: the least k ≥ 1 with k / objects ≥ recall."""
    count = np.maximum(objects, 1)[:, None]
    needed = np.ceil(RECALL_THRESHOLDS * count).astype(np.int64)
    # Where the product was rounded, the quotient decides.
    needed -= (needed - 1) / count >= RECALL_THRESHOLDS
    needed += needed / count < RECALL_THRESHOLDS
    return np.maximum(needed, 1)


def _running_sum(values: NDArray[np.int64], group: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """Sum of the values of the same group up to each of them; groups are non-decreasing."""
    total = np.cumsum(values)
    counts = np.bincount(group, minlength=groups)
    return total - np.concatenate([[0], total])[np.cumsum(counts) - counts][group]
