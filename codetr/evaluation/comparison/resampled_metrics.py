"""COCO's and LVIS's metrics of sets in which every image occurs a number of times, for many such sets at once.

An image that occurs w times contributes its objects and its detections w times, and the copies of a detection are
adjacent in the ranking. So the metrics of the set follow from sums of w instead of counts: true positives T and
detections that count D up to each true positive give its precision T / D. Among the copies of one detection precision
rises, and the interpolated curve uses the highest, that of the last copy: a sum over w is exact, not an approximation.
Nothing is matched again.

T needs the true positives, few, for each of ten IoU thresholds; D needs all detections, but is the same for all
thresholds except where a detection matches an object that counts otherwise than itself (a crowd, another size).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from codetr.core.progress import track
from codetr.evaluation.comparison.match_table import MatchTable
from codetr.evaluation.metrics.matching import AREA_RANGES, IOU_THRESHOLDS
from codetr.evaluation.metrics.metric_spec import (
    COCO_METRICS,
    LVIS_METRICS,
    MetricSpec,
    MetricTable,
    metric_name,
)
from codetr.evaluation.metrics.precision_recall import RECALL_THRESHOLDS, tp_for_recall

MAX_VALUES = 1 << 21
"""Most values of an array: rows of detections by columns of sets."""

Weights = NDArray[np.int32]


@dataclass(frozen=True)
class SampleMetrics:
    """Metrics of many sets; NaN where there is nothing to measure.

    Attributes:
        summary: the metrics of COCO or LVIS by name, each (sets,).
        classes: (classes, sets) AP of every class.
    """

    summary: dict[str, NDArray[np.float64]]
    classes: NDArray[np.float64]


@dataclass(frozen=True)
class _AreaRows:
    """What is needed of one area range.

    Attributes:
        first: (classes + 1,) where the rows of each class begin. A row is a candidate that matches something at any
            threshold; they are by class and ranking.
        image: (rows,) image of each.
        rank: (rows,) see `MatchTable`.
        between: (rows, images) detections of the class that count, after the row before, up to and with this one.
        tp: (thresholds, rows) bool: matches an object that counts.
        change: (thresholds, rows) what to add to D: a matched detection counts if its object does.
    """

    first: NDArray[np.int64]
    image: NDArray[np.int64]
    rank: NDArray[np.int64]
    between: csr_array
    tp: NDArray[np.bool_]
    change: NDArray[np.int8]


def metric_table(table: MatchTable) -> MetricTable:
    """Return the metrics that a match table gives: LVIS's or COCO's."""
    return LVIS_METRICS if table.federated else COCO_METRICS


def resampled_metrics(
    table: MatchTable, weights: Weights, label: str | None = None, *, max_values: int = MAX_VALUES
) -> SampleMetrics:
    """Compute the metrics of sets of images.

    Args:
        table: matches over all images.
        weights: (images, sets) how often each image occurs in each set.
        label: print progress under this name.
        max_values: most values of an array, which bounds the memory.
    """
    specs = metric_table(table)
    classes, sets = len(table.category_ids), weights.shape[1]
    areas = [_area_rows(table, a) for a in range(len(AREA_RANGES))]
    first = np.searchsorted(table.gt_label, np.arange(classes + 1))
    sums = {name: np.zeros(sets) for name in specs}
    counts = {name: np.zeros(sets, np.int64) for name in specs}
    of_classes = np.full((classes, sets), np.nan)
    for k in range(classes) if label is None else track(range(classes), classes, label):
        objects = slice(first[k], first[k + 1])
        gt_image, gt_counts = table.gt_image[objects], table.gt_counts[:, objects]
        rows = max((int(entry.first[k + 1] - entry.first[k]) for entry in areas), default=0)
        for columns in _columns(sets, max(rows, len(gt_image)), max_values):
            values = _class_metrics(k, specs, table.frequency[k], areas, gt_image, gt_counts, weights[:, columns])
            of_classes[k, columns] = values[metric_name(specs, "AP")]
            for name, value in values.items():
                measured = ~np.isnan(value)
                sums[name][columns] += np.where(measured, value, 0)
                counts[name][columns] += measured
    with np.errstate(invalid="ignore"):
        return SampleMetrics({name: sums[name] / counts[name] for name in sums}, of_classes)


def _area_rows(table: MatchTable, a: int) -> _AreaRows:
    """Return the rows of one area range."""
    tp, matched_ignored = table.tp[a], table.matched_ignored[a]
    matched = (tp | matched_ignored).any(axis=0)
    rows = table.candidates[matched]
    tp, matched_ignored = tp[:, matched], matched_ignored[:, matched]
    classes = np.arange(len(table.category_ids) + 1)
    dt_counts = table.dt_counts[a]
    # Each detection that counts belongs to the first row at or after it, unless that is of another class.
    detections = np.flatnonzero(dt_counts)
    row = np.searchsorted(rows, detections)
    within = row < len(rows)
    within[within] = table.label[rows[row[within]]] == table.label[detections[within]]
    row, detections = row[within], detections[within]
    begins = np.searchsorted(row, np.arange(len(rows) + 1))
    ones = np.ones(len(row), np.int32)
    between = csr_array((ones, table.image[detections], begins), shape=(len(rows), len(table.image_ids)))
    change = np.where(tp | matched_ignored, tp.astype(np.int8) - dt_counts[rows], 0).astype(np.int8)
    return _AreaRows(
        first=np.searchsorted(table.label[rows], classes),
        image=table.image[rows],
        rank=table.rank[matched],
        between=between,
        tp=tp,
        change=change,
    )


def _columns(sets: int, rows: int, max_values: int) -> Iterator[slice]:
    """Cut the sets so that no array gets too large."""
    step = max(max_values // max(rows, 1), 16)
    return (slice(start, min(start + step, sets)) for start in range(0, sets, step))


def _class_metrics(
    k: int,
    specs: MetricTable,
    frequency: str | None,
    areas: list[_AreaRows],
    gt_image: NDArray[np.int64],
    gt_counts: NDArray[np.bool_],
    weights: Weights,
) -> dict[str, NDArray[np.float64]]:
    """Return the metrics of one class that it takes part in, each (sets,), by name."""
    rows = [slice(int(entry.first[k]), int(entry.first[k + 1])) for entry in areas]
    objects = [weights[gt_image[counts]].sum(axis=0) for counts in gt_counts]
    precision = []
    for entry, part, count in zip(areas, rows, objects, strict=True):
        total = np.cumsum(entry.between[part] @ weights, axis=0, dtype=np.int32)
        precision.append(
            _precisions(total, entry.tp[:, part], entry.change[:, part], entry.image[part], weights, count)
        )
    max_dets = specs[metric_name(specs, "AR")].max_dets

    def value(spec: MetricSpec) -> NDArray[np.float64]:
        a = spec.area_range
        if spec.kind == "AP":
            return precision[a][spec.thresholds].mean(axis=0)
        entry, part = areas[a], rows[a]
        within = slice(None) if spec.max_dets == max_dets else entry.rank[part] < (spec.max_dets or 0)
        times, image = entry.tp[:, part][:, within].sum(axis=0), entry.image[part][within]
        return (times @ weights[image]) / np.maximum(objects[a], 1) / len(IOU_THRESHOLDS)

    return {
        name: np.where(objects[spec.area_range] > 0, value(spec), np.nan)
        for name, spec in specs.items()
        if spec.group in (None, frequency)
    }


def _precisions(
    total: NDArray[np.int32],
    tp: NDArray[np.bool_],
    change: NDArray[np.int8],
    image: NDArray[np.int64],
    weights: Weights,
    objects: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the average precision of one class and area range, (thresholds, sets).

    Args:
        total: (rows, sets) detections that count up to and with each row, before `change` is applied.
        tp: (thresholds, rows), see `_AreaRows`.
        change: (thresholds, rows), see `_AreaRows`.
        image: (rows,).
        weights: (images, sets).
        objects: (sets,) number of objects.
    """
    result = np.zeros((len(tp), len(objects)))
    if not tp.any() or not objects.any():
        return result
    covered, start = _covered(objects)
    for t, is_tp in enumerate(tp):
        here = np.flatnonzero(is_tp)
        if not len(here):
            continue
        true_positives = np.cumsum(weights[image[here]], axis=0, dtype=np.int64)
        detections = total[here]
        changed = np.flatnonzero(change[t])
        if len(changed):
            more = np.cumsum(change[t, changed, None] * weights[image[changed]], axis=0, dtype=np.int32)
            before = np.searchsorted(changed, here, side="right")
            detections[before > 0] += more[before[before > 0] - 1]
        # The tiny summand is that of the reference programs; it marks where nothing is counted yet.
        precision = true_positives / (detections + np.spacing(1))
        for row in range(len(here) - 2, -1, -1):
            np.maximum(precision[row], precision[row + 1], out=precision[row])
        # Every true positive covers the recalls between the one before it and itself.
        reached = covered.take(true_positives + start)
        reached[1:] -= reached[:-1].copy()
        result[t] = np.einsum("ij,ij->j", precision, reached.astype(np.float64))
    return result / len(RECALL_THRESHOLDS)


def _covered(objects: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return how many of the 101 recalls each number of true positives reaches, set by set, and where sets begin.

    A recall is reached where the quotient in floating point reaches it, so that the last digit is that of the reference
    programs.
    """
    sets, width = len(objects), int(objects.max()) + 2
    start = np.arange(sets) * width
    keys = (start[:, None] + tp_for_recall(objects)).ravel()
    table = np.bincount(keys, minlength=sets * width).astype(np.uint8).reshape(sets, width)
    return np.cumsum(table, axis=1, dtype=np.uint8).ravel(), start
