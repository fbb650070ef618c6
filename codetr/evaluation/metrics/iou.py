"""Intersection over union (IoU) of detections with the objects of their class and image.

Computed exactly as pycocotools does: of boxes by the same operations in double precision, of masks by pycocotools
itself. For a crowd region it is intersection over the area of the detection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from codetr.data.segmentation import encode

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""(pairs,) index of the detection, index of the object, and their IoU."""

MAX_PAIRS = 1 << 20
"""Pairs that are compared together, which bounds the memory."""


def overlapping_boxes(
    dt_boxes_xywh: NDArray[np.float64],
    gt_boxes_xywh: NDArray[np.float64],
    iscrowd: NDArray[np.bool_],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    min_iou: float,
    *,
    max_pairs: int = MAX_PAIRS,
) -> Pairs:
    """Return the pairs of boxes whose IoU is at least `min_iou`.

    Args:
        dt_boxes_xywh: (detections, 4) x, y, width, height in pixels.
        gt_boxes_xywh: (objects, 4) x, y, width, height in pixels.
        iscrowd: (objects,) bool, crowd regions.
        first: (detections,) first object each detection is compared with; non-decreasing.
        last: (detections,) the one after the last.
        min_iou: lowest IoU.
        max_pairs: pairs that are compared together.
    """
    found: list[Pairs] = []
    for detection, gt in _blocks(first, last, max_pairs):
        (x, y, w, h), (u, v, s, t) = dt_boxes_xywh[detection].T, gt_boxes_xywh[gt].T
        width = np.minimum(w + x, s + u) - np.maximum(x, u)
        height = np.minimum(h + y, t + v) - np.maximum(y, v)
        near = np.flatnonzero((width > 0) & (height > 0))
        intersection = width[near] * height[near]
        dt_area = (w * h)[near]
        union = np.where(iscrowd[gt[near]], dt_area, dt_area + (s * t)[near] - intersection)
        iou = intersection / union
        enough = iou >= min_iou
        kept = near[enough]
        found.append((detection[kept], gt[kept], iou[enough]))
    return _concatenated(found)


def overlapping_masks(
    codes: Sequence[Any],
    dt_index: NDArray[np.int64],
    segmentations: Sequence[Any],
    gt_index: NDArray[np.int64],
    sizes: NDArray[np.integer[Any]],
    iscrowd: NDArray[np.bool_],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    min_iou: float,
) -> Pairs:
    """Return the pairs of masks whose IoU is at least `min_iou`.

    Args:
        codes: compressed run-length codes of the predictions.
        dt_index: (detections,) indices of the detections among them.
        segmentations: polygons or run-length codes of the ground truth.
        gt_index: (objects,) indices of the objects among them.
        sizes: (objects, 2) height and width of the image of each object.
        iscrowd: as for boxes.
        first: as for boxes.
        last: as for boxes.
        min_iou: as for boxes.
    """
    found: list[Pairs] = []
    compared = np.flatnonzero(last > first)
    # Detections of one class and image are compared with the same objects and are adjacent.
    for group in np.split(compared, np.flatnonzero(np.diff(first[compared])) + 1):
        if not len(group):
            continue
        objects = range(int(first[group[0]]), int(last[group[0]]))
        gt_codes = [encode(segmentations[gt_index[k]], int(sizes[k, 0]), int(sizes[k, 1])) for k in objects]
        iou = coco_mask.iou(
            [codes[k] for k in dt_index[group].tolist()], gt_codes, iscrowd[objects.start : objects.stop].tolist()
        )
        row, column = np.nonzero(iou >= min_iou)
        found.append((group[row], column + objects.start, iou[row, column]))
    return _concatenated(found)


def _blocks(
    first: NDArray[np.int64], last: NDArray[np.int64], max_pairs: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield all pairs of detection and object to compare, in blocks."""
    compared = np.flatnonzero(last > first)
    counts = (last - first)[compared]
    ends = np.cumsum(counts)
    start = 0
    while start < len(compared):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + max_pairs, side="right")))
        block = slice(start, stop)
        detection = np.repeat(compared[block], counts[block])
        begins = np.repeat(ends[block] - counts[block] - done, counts[block])
        yield detection, np.arange(len(detection)) - begins + first[detection]
        start = stop


def _concatenated(found: list[Pairs]) -> Pairs:
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    detection, gt, iou = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return detection, gt, iou
