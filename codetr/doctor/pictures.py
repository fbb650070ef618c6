"""Draw examples of findings: the part of the image around the objects, or two images side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codetr.core.errors import ReportedError
from codetr.data.dataset.split import ImageRecord, Split
from codetr.data.validation.dataset_findings import Example
from codetr.visual.drawing import Box, draw_boxes, elide

_LONG_SIDE, _GAP = 300, 8
_MIN_REGION, _MARGIN = 48.0, 0.4
_OUTSIDE = 245  # grey of what lies beyond the border of an image

T = TypeVar("T", bound=np.generic)
Bounds = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the image; may exceed it."""


def draw_example(example: Example, splits: Mapping[str, Split]) -> bytes | None:
    """Return a JPEG of an example, or None if it has no image or the image cannot be read.

    The object that the finding is about has the first colour, an object that it repeats the second colour and dashed
    lines. Segmentations are filled.
    """
    if example.image is None:
        return None
    try:
        pictures = [_draw(splits[example.split], example.image, example.objects)]
        if example.partner is not None:
            other, position = example.partner
            pictures.append(_draw(splits[other], position, ()))
    except ReportedError:
        return None
    stream = io.BytesIO()
    _side_by_side(pictures).save(stream, "JPEG", quality=82, optimize=True)
    return stream.getvalue()


def _draw(split: Split, i: int, objects: tuple[int, ...]) -> Image.Image:
    record = split.record(i)
    image = record.read()
    if not objects:
        return draw_boxes(image, [], long_side=_LONG_SIDE)
    first = int(split.arrays["object_offsets"][i])
    chosen = [k - first for k in objects]
    boxes = record.boxes_xywh[chosen]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    masks = [record.mask(k) if record.segmentations[k] else None for k in chosen]
    region = _region(corners, [mask for mask in masks if mask is not None], record)
    left, top = region[:2]
    drawn = [
        Box(
            (x1 - left, y1 - top, x2 - left, y2 - top),
            number,
            elide(split.names[record.labels[k]], 24) if len(chosen) > 1 else "",  # a caption would hide a small object
            dashed=number > 0,
            mask=None if mask is None else _cut(mask, region, False),
        )
        for number, (k, mask, (x1, y1, x2, y2)) in enumerate(zip(chosen, masks, corners.tolist(), strict=True))
    ]
    drawn.reverse()
    return draw_boxes(_cut(image, region, _OUTSIDE), drawn, long_side=_LONG_SIDE)


def _region(corners: NDArray[np.float64], masks: list[NDArray[np.bool_]], record: ImageRecord) -> Bounds:
    """Return a region around the objects, with a margin; at most half an image beyond the borders."""
    low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            low = np.minimum(low, [columns[0], rows[0]])
            high = np.maximum(high, [columns[-1] + 1, rows[-1] + 1])
    side = max(_MIN_REGION, float((high - low).max()) * (1 + _MARGIN))
    size = np.array([record.width, record.height])
    middle = (low + high) / 2
    # A square around the centre, but not farther beyond the border than the objects are.
    start = np.maximum(middle - side / 2, np.minimum(low - 8, 0))
    stop = np.minimum(middle + side / 2, np.maximum(high + 8, size))
    start = np.clip(np.floor(start), -size // 2, size - 1)
    stop = np.clip(np.ceil(stop), start + 1, size + size // 2)
    return int(start[0]), int(start[1]), int(stop[0]), int(stop[1])


def _cut(pixels: NDArray[T], region: Bounds, fill: float) -> NDArray[T]:
    """Return a part of an image or mask, (bottom - top, right - left, ...), filled outside of the image."""
    left, top, right, bottom = region
    height, width = pixels.shape[:2]
    part = np.full((bottom - top, right - left, *pixels.shape[2:]), fill, pixels.dtype)
    rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
    inside = pixels[rows, columns]
    y, x = rows.start - top, columns.start - left
    part[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return part


def _side_by_side(pictures: list[Image.Image]) -> Image.Image:
    width = sum(picture.width for picture in pictures) + _GAP * (len(pictures) - 1)
    joined = Image.new("RGB", (width, max(picture.height for picture in pictures)), (255, 255, 255))
    left = 0
    for picture in pictures:
        joined.paste(picture, (left, 0))
        left += picture.width + _GAP
    return joined
