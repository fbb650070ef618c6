"""Precision and recall from matches, summed up as pycocotools and the package `lvis` do.

Precision at a recall is interpolated: the highest precision at this or any higher recall, at 101 recalls. It can only
change at true positives, so of all detections the true positives are enough, together with how many detections count
up to each of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.metrics.matching import AREA_RANGES, IOU_THRESHOLDS, Matching

RECALL_THRESHOLDS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Curves:
    """Precision and recall of every class; -1 where a class has no object that counts.

    Attributes:
        precision: (thresholds, recalls, classes, areas).
        recall: (thresholds, classes, areas) the highest recall.
        objects: (classes, areas) number of objects that count.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    objects: NDArray[np.int64]


def precision_recall_curves(matching: Matching, gt_labels: NDArray[np.int64], classes: int) -> Curves:
    """Return precision and recall of every class, over IoU thresholds and area ranges.

    Args:
        matching: matches between detections and ground truth.
        gt_labels: (G,) class of every object of `matching`.
        classes: number of classes.
    """
    thresholds, areas = len(IOU_THRESHOLDS), len(AREA_RANGES)
    precision = np.full((thresholds, len(RECALL_THRESHOLDS), classes, areas), -1.0)
    recall = np.full((thresholds, classes, areas), -1.0)
    objects = np.stack([np.bincount(gt_labels[~ignore], minlength=classes) for ignore in matching.gt_ignore], axis=1)

    # One ranking for each class, over all images.
    order = np.lexsort((-matching.score, matching.label))
    ranking = np.empty_like(order)
    ranking[order] = np.arange(len(order))
    by_ranking = np.argsort(ranking[matching.candidates])
    candidates = matching.candidates[by_ranking]
    at = ranking[candidates]
    label = matching.label[candidates]
    begins = np.searchsorted(matching.label[order], np.arange(classes))
    for a in range(areas):
        counts = ~matching.dt_ignore[a]
        up_to = np.cumsum(counts[order])
        offset = np.concatenate([[0], up_to])[begins]
        present = objects[:, a] > 0
        needed = tp_for_recall(objects[:, a])
        for t in range(thresholds):
            dt_matches = matching.dt_matches[a, t, by_ranking]
            matched = dt_matches >= 0
            tp = matched & ~matching.gt_ignore[a, dt_matches]
            # A matched detection counts if its object does, whatever its area.
            change = np.where(matched, tp.astype(np.int64) - counts[candidates], 0)
            total = up_to[at] + _running_sum(change, label, classes) - offset[label]
            tp_label = label[tp]
            curve, first, tp_count = _envelope(total[tp], tp_label, classes)
            reached = needed <= tp_count[:, None]
            values = np.where(reached, curve[np.where(reached, first[:, None] + needed - 1, 0)], 0.0)
            precision[t, :, present, a] = values[present]
            recall[t, present, a] = tp_count[present] / objects[present, a]
    return Curves(precision, recall, objects)


def recall_within(matching: Matching, objects: NDArray[np.int64], max_dets: int) -> NDArray[np.float64]:
    """Return the recall with only the best detections of each class and image, over objects of all areas.

    Args:
        matching: matches between detections and ground truth.
        objects: (classes,) number of objects that count, of all areas.
        max_dets: number of detections.

    Returns:
        (thresholds, classes), -1 for classes without objects.
    """
    within = matching.rank[matching.candidates] < max_dets
    label = matching.label[matching.candidates]
    recall = np.full((len(IOU_THRESHOLDS), len(objects)), -1.0)
    for t in range(len(IOU_THRESHOLDS)):
        dt_matches = matching.dt_matches[0, t]
        tp = within & (dt_matches >= 0) & ~matching.gt_ignore[0, dt_matches]
        tp_count = np.bincount(label[tp], minlength=len(objects))
        recall[t, objects > 0] = tp_count[objects > 0] / objects[objects > 0]
    return recall


def average_precisions(
    total: NDArray[np.int64], group: NDArray[np.int64], objects: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the area under the interpolated curve of each of many rankings, at one IoU threshold.

    Args:
        total: (n,) for every true positive, in the order of its ranking: how many detections count up to and with it.
        group: (n,) the ranking it belongs to, non-decreasing.
        objects: (groups,) number of objects, at least one each.

    Returns:
        (groups,) average precision.
    """
    curve, first, tp_count = _envelope(total, group, len(objects))
    number = np.arange(1, len(total) + 1) - np.repeat(first, tp_count)
    # Each true positive adds the recalls between the one before and itself; the first begins at recall 0.
    covered = np.searchsorted(RECALL_THRESHOLDS, number / objects[group], side="right")
    gained = covered - np.where(number > 1, np.concatenate([[0], covered])[:-1], 0)
    area = np.bincount(group, weights=curve[:-1] * gained, minlength=len(objects))
    return area / len(RECALL_THRESHOLDS)


def mean(values: NDArray[np.float64]) -> float | None:
    """Return the mean of the entries that are not -1, `None` if there is none."""
    values = values[values > -1]
    return float(np.mean(values)) if values.size else None


def tp_for_recall(objects: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many true positives a recall needs: the least k ≥ 1 with k / objects ≥ recall, (classes, recalls)."""
    count = np.maximum(objects, 1)[:, None]
    needed = np.ceil(RECALL_THRESHOLDS * count).astype(np.int64)
    # Where the product was rounded, the quotient decides.
    needed -= (needed - 1) / count >= RECALL_THRESHOLDS
    needed += needed / count < RECALL_THRESHOLDS
    return np.maximum(needed, 1)


def _envelope(
    total: NDArray[np.int64], group: NDArray[np.int64], groups: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the highest precision at or after each true positive and a final 0; starts and sizes of the groups."""
    tp_count = np.bincount(group, minlength=groups)
    first = np.cumsum(tp_count) - tp_count
    number = np.arange(1, len(total) + 1) - np.repeat(first, tp_count)
    # The tiny summand is that of the reference programs, which divide by zero otherwise, and changes the last bit.
    precision = number / (total + np.spacing(1))
    step = 1
    while step < tp_count.max(initial=0):
        together = group[step:] == group[:-step]
        precision[:-step] = np.maximum(precision[:-step], np.where(together, precision[step:], 0.0))
        step *= 2
    return np.append(precision, 0.0), first, tp_count


def _running_sum(values: NDArray[np.int64], group: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """Return the sum of the values of the same group up to each of them; groups are non-decreasing."""
    total = np.cumsum(values)
    counts = np.bincount(group, minlength=groups)
    return total - np.concatenate([[0], total])[np.cumsum(counts) - counts][group]
