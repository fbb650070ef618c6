"""COCO's and LVIS's metrics of sets in which every image occurs a number of times, for many such sets at once.

An image that occurs w times brings its objects and its detections w times, and the copies of a detection stand beside
each other in the ranking. So the numbers of the set follow from sums of w instead of counts: found objects T and
counted detections D up to each detection that finds an object give its precision T / D. Among the copies of one
detection precision grows, and the interpolated curve takes the highest, which is the last copy's: a sum over w is
exact, not an approximation. Nothing is matched again.

T needs the detections that find something, few, for each of ten overlaps; D needs all detections, but is the same for
all overlaps except where a detection finds an object that counts otherwise than itself (a crowd, another size).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from codetr.core.progress import track
from codetr.data.lvis import FREQUENCIES
from codetr.evaluation.comparison.match_table import Outcomes
from codetr.evaluation.metrics.lvis import MOST_DETECTIONS
from codetr.evaluation.metrics.matching import AREA_RANGES, IOU_THRESHOLDS
from codetr.evaluation.metrics.precision_recall import RECALL_THRESHOLDS, hits_for_recall
from codetr.evaluation.metrics.summary import ALL_AREAS, IOU50, IOU75, SIZES

_BLOCK = 1 << 21
"""Most values of an array: rows of detections by columns of sets."""

Weights = NDArray[np.int32]


@dataclass(frozen=True)
class Values:
    """Metrics of many sets; NaN where there is nothing to measure.

    Attributes:
        summary: the numbers of COCO or LVIS by name, each (sets,).
        classes: (classes, sets) AP of every class.
    """

    summary: dict[str, NDArray[np.float64]]
    classes: NDArray[np.float64]


@dataclass(frozen=True)
class _Range:
    """What is needed of one range of object sizes.

    Attributes:
        first: (classes + 1,) where the rows of each class begin. A row is a candidate that finds something at any
            overlap; they are by class and ranking.
        image: (rows,) image of each.
        rank: (rows,) see `Outcomes`.
        between: (rows, images) counted detections of the class after the row before, up to and with this one.
        hit: (thresholds, rows) bool: finds an object that counts.
        change: (thresholds, rows) what is to be added to D: whoever finds something counts by what it finds.
    """

    first: NDArray[np.int64]
    image: NDArray[np.int64]
    rank: NDArray[np.int64]
    between: csr_array
    hit: NDArray[np.bool_]
    change: NDArray[np.int8]


def weighted_values(outcomes: Outcomes, weights: Weights, label: str | None = None) -> Values:
    """The metrics of sets of images.

    Args:
        outcomes: who found whom, over all images.
        weights: (images, sets) how often each image occurs in each set.
        label: print progress under this name.
    """
    classes, sets = len(outcomes.category_ids), weights.shape[1]
    ranges = [_range(outcomes, a) for a in range(len(AREA_RANGES))]
    first = np.searchsorted(outcomes.object_label, np.arange(classes + 1))
    sums: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, NDArray[np.int64]] = {}
    of_classes = np.full((classes, sets), np.nan)
    for name in summary_names(outcomes.federated):
        sums[name], counts[name] = np.zeros(sets), np.zeros(sets, np.int64)
    for k in range(classes) if label is None else track(range(classes), classes, label):
        objects = slice(first[k], first[k + 1])
        image, sought = outcomes.object_image[objects], outcomes.sought[:, objects]
        rows = max((int(entry.first[k + 1] - entry.first[k]) for entry in ranges), default=0)
        for columns in _columns(sets, max(rows, len(image))):
            values = _of_class(k, ranges, image, sought, weights[:, columns], outcomes)
            of_classes[k, columns] = values["AP"]
            for name, value in values.items():
                measured = ~np.isnan(value)
                sums[name][columns] += np.where(measured, value, 0)
                counts[name][columns] += measured
    with np.errstate(invalid="ignore"):
        return Values({name: sums[name] / counts[name] for name in sums}, of_classes)


def summary_names(federated: bool) -> tuple[str, ...]:
    """Names of the summary's numbers, in COCO's or LVIS's order."""
    if federated:
        recalls = (f"AR{size}@{MOST_DETECTIONS}" for size in ("", *SIZES))
        return ("AP", "AP50", "AP75", *(f"AP{name}" for name in (*SIZES, *FREQUENCIES)), *recalls)
    return ("AP", "AP50", "AP75", *(f"AP{size}" for size in SIZES), "AR1", "AR10", "AR100", *(f"AR{s}" for s in SIZES))


def _range(outcomes: Outcomes, a: int) -> _Range:
    """The rows of one range of sizes."""
    hit, excused = outcomes.hit[a], outcomes.excused[a]
    useful = (hit | excused).any(axis=0)
    rows = outcomes.candidates[useful]
    hit, excused = hit[:, useful], excused[:, useful]
    classes = np.arange(len(outcomes.category_ids) + 1)
    counted = outcomes.counted[a]
    # Each counted detection belongs to the first row at or after it, unless that is of another class.
    detections = np.flatnonzero(counted)
    row = np.searchsorted(rows, detections)
    within = row < len(rows)
    within[within] = outcomes.label[rows[row[within]]] == outcomes.label[detections[within]]
    row, detections = row[within], detections[within]
    begins = np.searchsorted(row, np.arange(len(rows) + 1))
    ones = np.ones(len(row), np.int32)
    between = csr_array((ones, outcomes.image[detections], begins), shape=(len(rows), len(outcomes.image_ids)))
    change = np.where(hit | excused, hit.astype(np.int8) - counted[rows], 0).astype(np.int8)
    return _Range(
        first=np.searchsorted(outcomes.label[rows], classes),
        image=outcomes.image[rows],
        rank=outcomes.rank[useful],
        between=between,
        hit=hit,
        change=change,
    )


def _columns(sets: int, rows: int) -> Iterator[slice]:
    """Cut the sets so that no array gets too large."""
    step = max(_BLOCK // max(rows, 1), 16)
    return (slice(start, min(start + step, sets)) for start in range(0, sets, step))


def _of_class(
    k: int,
    ranges: list[_Range],
    object_image: NDArray[np.int64],
    sought: NDArray[np.bool_],
    weights: Weights,
    outcomes: Outcomes,
) -> dict[str, NDArray[np.float64]]:
    """The numbers of one class, each (sets,), under the names they are averaged by."""
    values: dict[str, NDArray[np.float64]] = {}
    many = MOST_DETECTIONS if outcomes.federated else 100
    for a, entry in enumerate(ranges):
        size = ("", *SIZES)[a]
        rows = slice(int(entry.first[k]), int(entry.first[k + 1]))
        image, hit, change = entry.image[rows], entry.hit[:, rows], entry.change[:, rows]
        objects = weights[object_image[sought[a]]].sum(axis=0)
        present = objects > 0
        total = np.cumsum(entry.between[rows] @ weights, axis=0, dtype=np.int32)
        precision = _precisions(total, hit, change, image, weights, objects)
        values[f"AP{size}"] = np.where(present, precision.mean(axis=0), np.nan)
        limits: dict[str, int | None] = {f"AR{size}@{many}" if outcomes.federated else f"AR{size or many}": None}
        if a == ALL_AREAS:
            values["AP50"] = np.where(present, precision[IOU50], np.nan)
            values["AP75"] = np.where(present, precision[IOU75], np.nan)
            if group := outcomes.frequency[k] if outcomes.federated else None:
                values[f"AP{group}"] = values["AP"]
            if not outcomes.federated:
                limits |= {"AR1": 1, "AR10": 10}
        for name, most in limits.items():
            times = hit.sum(axis=0) if most is None else hit[:, entry.rank[rows] < most].sum(axis=0)
            found = image if most is None else image[entry.rank[rows] < most]
            recall = (times @ weights[found]) / np.maximum(objects, 1) / len(IOU_THRESHOLDS)
            values[name] = np.where(present, recall, np.nan)
    return values


def _precisions(
    total: NDArray[np.int32],
    hit: NDArray[np.bool_],
    change: NDArray[np.int8],
    image: NDArray[np.int64],
    weights: Weights,
    objects: NDArray[np.int64],
) -> NDArray[np.float64]:
    """(thresholds, sets) average precision of one class and range.

    Args:
        total: (rows, sets) counted detections up to and with each row, before anything is changed.
        hit: (thresholds, rows), see `_Range`.
        change: (thresholds, rows), see `_Range`.
        image: (rows,).
        weights: (images, sets).
        objects: (sets,) objects to be found.
    """
    result = np.zeros((len(hit), len(objects)))
    if not hit.any() or not objects.any():
        return result
    covered, start = _covered(objects)
    for t, right in enumerate(hit):
        here = np.flatnonzero(right)
        if not len(here):
            continue
        found = np.cumsum(weights[image[here]], axis=0, dtype=np.int64)
        counted = total[here]
        changed = np.flatnonzero(change[t])
        if len(changed):
            more = np.cumsum(change[t, changed, None] * weights[image[changed]], axis=0, dtype=np.int32)
            before = np.searchsorted(changed, here, side="right")
            counted[before > 0] += more[before[before > 0] - 1]
        # The tiny summand is the reference programs'; it tells where nothing was counted yet.
        precision = found / (counted + np.spacing(1))
        for row in range(len(here) - 2, -1, -1):
            np.maximum(precision[row], precision[row + 1], out=precision[row])
        # Every detection stands for the recalls between the one before it and itself.
        reached = covered.take(found + start)
        reached[1:] -= reached[:-1].copy()
        result[t] = np.einsum("ij,ij->j", precision, reached.astype(np.float64))
    return result / len(RECALL_THRESHOLDS)


def _covered(objects: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """How many of the 101 recalls each number of found objects reaches, of each set; and where those of a set begin.

    A recall is reached where the quotient in floating point is, so that the last digit is the reference programs'.
    """
    sets, width = len(objects), int(objects.max()) + 2
    start = np.arange(sets) * width
    keys = (start[:, None] + hits_for_recall(objects)).ravel()
    table = np.bincount(keys, minlength=sets * width).astype(np.uint8).reshape(sets, width)
    return np.cumsum(table, axis=1, dtype=np.uint8).ravel(), start
