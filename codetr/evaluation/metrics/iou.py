"""Which detections overlap which objects of their class and image, and by how much.

Overlap is intersection over union, computed exactly as pycocotools does: of boxes by the same operations in double
precision, of masks by pycocotools itself. For a crowd region it is intersection over the detection's own area.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from codetr.data.segmentation import encode

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""(pairs,) positions of detections, positions of objects, and their overlap."""

_BLOCK = 1 << 20
"""Pairs that are looked at together, which bounds the memory for them."""


def overlapping_boxes(
    detections: NDArray[np.float64],
    objects: NDArray[np.float64],
    crowd: NDArray[np.bool_],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    least: float,
) -> Pairs:
    """Pairs of boxes that overlap by `least` or more.

    Args:
        detections: (detections, 4) x, y, width, height.
        objects: (objects, 4) likewise.
        crowd: (objects,) crowd regions.
        first: (detections,) first object each detection is compared with; non-decreasing.
        last: (detections,) the one after the last.
        least: overlap.
    """
    found: list[Pairs] = []
    for detection, thing in _blocks(first, last):
        (x, y, w, h), (u, v, s, t) = detections[detection].T, objects[thing].T
        width = np.minimum(w + x, s + u) - np.maximum(x, u)
        height = np.minimum(h + y, t + v) - np.maximum(y, v)
        near = np.flatnonzero((width > 0) & (height > 0))
        common = width[near] * height[near]
        own = (w * h)[near]
        union = np.where(crowd[thing[near]], own, own + (s * t)[near] - common)
        overlap = common / union
        enough = overlap >= least
        kept = near[enough]
        found.append((detection[kept], thing[kept], overlap[enough]))
    return _joined(found)


def overlapping_masks(
    codes: Sequence[Any],
    chosen: NDArray[np.int64],
    segmentations: Sequence[Any],
    objects: NDArray[np.int64],
    sizes: NDArray[np.int64],
    crowd: NDArray[np.bool_],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    least: float,
) -> Pairs:
    """The same of masks.

    Args:
        codes: compressed run-length codes.
        chosen: (detections,) positions of the detections among them.
        segmentations: polygons or run-length codes.
        objects: (objects,) positions of the objects among them.
        sizes: (objects, 2) height and width of each object's image.
        crowd: as for boxes.
        first: as for boxes.
        last: as for boxes.
        least: as for boxes.
    """
    found: list[Pairs] = []
    compared = np.flatnonzero(last > first)
    # Detections of one class and image are compared with the same objects and stand together.
    for group in np.split(compared, np.flatnonzero(np.diff(first[compared])) + 1):
        if not len(group):
            continue
        things = range(int(first[group[0]]), int(last[group[0]]))
        sought = [encode(segmentations[objects[k]], int(sizes[k, 0]), int(sizes[k, 1])) for k in things]
        overlap = coco_mask.iou(
            [codes[k] for k in chosen[group].tolist()], sought, crowd[things.start : things.stop].tolist()
        )
        row, column = np.nonzero(overlap >= least)
        found.append((group[row], column + things.start, overlap[row, column]))
    return _joined(found)


def _blocks(first: NDArray[np.int64], last: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All pairs of detection and object to look at, in blocks."""
    compared = np.flatnonzero(last > first)
    counts = (last - first)[compared]
    ends = np.cumsum(counts)
    start = 0
    while start < len(compared):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
        block = slice(start, stop)
        detection = np.repeat(compared[block], counts[block])
        begins = np.repeat(ends[block] - counts[block] - done, counts[block])
        yield detection, np.arange(len(detection)) - begins + first[detection]
        start = stop


def _joined(found: list[Pairs]) -> Pairs:
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    detection, thing, overlap = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return detection, thing, overlap
