"""Segmentations of objects: validated in Python before native code sees them, then encoded and decoded.

The C code of pycocotools does not check its input: a run-length code with more pixels than its size writes past the
buffer, and an invalid string is read past its end. So every polygon and run-length code is validated here first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from codetr.data.validation.rules import (
    encloses_nothing,
    exceeds_image,
    is_degenerate_polygon,
    is_number,
    is_within_reach,
)


class BadSegmentationError(ValueError):
    """The segmentation cannot be used; the message says why."""


@dataclass(frozen=True)
class CheckedSegmentation:
    """A validated segmentation, safe to pass to native code.

    Attributes:
        value: a list of polygons [[x0, y0, x1, y1, ...], ...] in pixels, or {"size": [h, w], "counts": list or str}.
        dropped_parts: number of polygons left out because they enclose nothing.
        exceeds_image: some point is more than a pixel outside of the image.
    """

    value: list[list[float]] | dict[str, Any]
    dropped_parts: int = 0
    exceeds_image: bool = False


def check_segmentation(value: Any, height: int, width: int, *, keep_empty: bool = False) -> CheckedSegmentation | None:
    """Validate a segmentation of an image of the given size; None if there is none (null, [], [[]]).

    Args:
        value: of any type.
        height: of the image in pixels.
        width: of the image in pixels.
        keep_empty: accept polygons that enclose nothing and run-length codes without any pixel: they can be decoded.

    Raises:
        BadSegmentationError: neither a list of polygons nor a run-length code that covers the image exactly.
    """
    if is_absent(value):
        return None
    if isinstance(value, dict):
        return CheckedSegmentation(_check_rle(value, height, width, keep_empty=keep_empty))
    if not isinstance(value, list):
        raise BadSegmentationError(f"is a {type(value).__name__}, expected polygons or a run-length code")
    return _check_polygons(value, height, width, keep_empty=keep_empty)


def is_absent(value: Any) -> bool:
    """Return whether a value of an annotation stands for no segmentation: null, [] or [[]]."""
    return value is None or (isinstance(value, list) and all(isinstance(part, list) and not part for part in value))


def _check_polygons(polygons: list[Any], height: int, width: int, *, keep_empty: bool) -> CheckedSegmentation:
    kept, dropped, exceeds = [], 0, False
    for polygon in polygons:
        if not isinstance(polygon, list) or not all(is_number(value) for value in polygon):
            raise BadSegmentationError("has a polygon that is not a list of numbers")
        if not all(map(is_within_reach, polygon)):
            raise BadSegmentationError("has coordinates that are not finite or beyond a million pixels")
        if is_degenerate_polygon(len(polygon)) or (not keep_empty and encloses_nothing(polygon)):
            dropped += 1
            continue
        xs, ys = polygon[0::2], polygon[1::2]
        exceeds |= exceeds_image(min(xs), min(ys), max(xs), max(ys), width, height)
        kept.append(polygon)
    if not kept:
        raise BadSegmentationError("has no polygon that encloses anything")
    return CheckedSegmentation(kept, dropped, exceeds)


def _check_rle(value: dict[str, Any], height: int, width: int, *, keep_empty: bool) -> dict[str, Any]:
    size, counts = value.get("size"), value.get("counts")
    if size != [height, width]:
        raise BadSegmentationError(f"has a run-length code of size {str(size)[:40]}, the image's is {[height, width]}")
    if isinstance(counts, str):
        runs = _decode_counts(counts, limit=height * width + 1)
    elif isinstance(counts, list):
        if not all(isinstance(count, int) and not isinstance(count, bool) for count in counts):
            raise BadSegmentationError("has run lengths that are not integers")
        runs = counts
    else:
        raise BadSegmentationError("has a run-length code without counts")
    if any(run < 0 for run in runs):
        raise BadSegmentationError("has negative run lengths")
    if sum(runs) != height * width:
        raise BadSegmentationError(f"has run lengths for {sum(runs)} pixels, the image has {height * width}")
    if not keep_empty and not any(runs[1::2]):
        raise BadSegmentationError("has a run-length code without any pixel")
    return {"size": [height, width], "counts": counts}


def _decode_counts(text: str, limit: int) -> list[int]:
    """Decode COCO's compressed counts: 5 bits a character, lowest first; from the third run on, differences."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60 or len(runs) > limit:
            raise BadSegmentationError("has an invalid run-length string")
        value |= (code & 0x1F) << shift
        shift += 5
        if not code & 0x20:
            if code & 0x10:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    if shift:
        raise BadSegmentationError("has a truncated run-length string")
    return runs


def encode(value: list[list[float]] | dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """Return a checked segmentation as one compressed run-length code."""
    code: dict[str, Any]
    if isinstance(value, list):
        code = coco_mask.merge(coco_mask.frPyObjects(value, height, width))
    elif isinstance(value["counts"], list):
        code = coco_mask.frPyObjects(value, height, width)
    else:
        code = value
    return code


def encode_mask(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return a (height, width) bool mask as a compressed run-length code of JSON types."""
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode()}


def decode(value: list[list[float]] | dict[str, Any], height: int, width: int) -> NDArray[np.bool_]:
    """Return a checked segmentation as a (height, width) bool mask."""
    mask: NDArray[np.bool_] = coco_mask.decode(encode(value, height, width)).astype(bool)
    return mask


def mask_area(value: list[list[float]] | dict[str, Any], height: int, width: int) -> float:
    """Return the number of pixels of a checked segmentation."""
    return float(coco_mask.area(encode(value, height, width)))


def mask_bounding_box(value: list[list[float]] | dict[str, Any], height: int, width: int) -> list[float]:
    """Return the xywh box in pixels around the polygon points, or the pixels, of a checked segmentation."""
    if isinstance(value, list):
        xs = [x for polygon in value for x in polygon[0::2]]
        ys = [y for polygon in value for y in polygon[1::2]]
        return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    return [float(number) for number in coco_mask.toBbox(encode(value, height, width))]
