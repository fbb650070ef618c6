"""Decide whether annotations belong to the image as stored or turned upright by its EXIF orientation.

Annotation tools export the size of one, and boxes of the other: a declared size is weaker evidence than the boxes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from codetr.data.formats.coco_columns import RawAnnotations
from codetr.data.validation.ids import ListedIds
from codetr.data.validation.rules import as_number, is_number, is_within_reach

_TOLERANCE = 0.02
"""Share of a side by which boxes that were drawn carelessly extend beyond the image."""


def box_reach(annotations: RawAnnotations, ids: ListedIds, images: Collection[int]) -> dict[int, tuple[float, float]]:
    """Return how far the boxes of images reach: (largest y, largest x) in pixels, by image id.

    Args:
        annotations: of the source, unchecked.
        ids: resolves its image ids.
        images: ids of the images in question; those without a usable box are not in the result.
    """
    table = annotations.table
    rows = np.flatnonzero(np.isin(table.image_ids, list(images)))
    in_table = np.zeros(len(annotations), bool)
    in_table[annotations.positions] = True
    found = [(int(table.image_ids[row]), table.boxes_xywh[row].tolist()) for row in rows]
    for position in np.flatnonzero(~in_table).tolist():
        value = annotations[position]
        image_id = ids.resolve(value.get("image_id")) if isinstance(value, dict) else None
        box = _numbers(value.get("bbox")) if image_id in images else None
        if image_id is not None and box is not None:
            found.append((image_id, box))
    reach: dict[int, tuple[float, float]] = {}
    for image_id, (x, y, width, height) in found:
        if is_within_reach(x + width) and is_within_reach(y + height):
            lowest, rightmost = reach.get(image_id, (0.0, 0.0))
            reach[image_id] = max(lowest, y + height), max(rightmost, x + width)
    return reach


def _numbers(box: Any) -> list[float] | None:
    """Return a box as four numbers, which may be written as text; None if it is not one, or far from any image."""
    if not isinstance(box, list) or len(box) != 4:
        return None
    numbers = [as_number(item) for item in box]
    return numbers if all(is_number(item) and is_within_reach(item) for item in numbers) else None


def upright_by_boxes(stored: tuple[int, int], reach: tuple[float, float] | None) -> bool | None:
    """Return whether boxes fit only the upright image (True), only the stored one (False), or both or neither (None).

    Args:
        stored: (height, width) of an image that is turned by a quarter.
        reach: of its boxes, see `box_reach`.
    """
    if reach is None:
        return None
    fits_stored, fits_upright = (_fits(size, reach) for size in (stored, stored[::-1]))
    return None if fits_stored == fits_upright else fits_upright


def common_decision(decisions: Mapping[int, bool | None]) -> bool | None:
    """Return the decision that all decided images of a source share, else None."""
    decided = set(decisions.values()) - {None}
    return decided.pop() if len(decided) == 1 else None


def _fits(size: tuple[int, int], reach: tuple[float, float]) -> bool:
    return all(end <= side * (1 + _TOLERANCE) + 1 for side, end in zip(size, reach, strict=True))
