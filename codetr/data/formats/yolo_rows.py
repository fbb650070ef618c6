"""Convert the rows of YOLO label files to COCO annotations in pixels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

BOX_COLUMNS = 5
"""Columns of a row with a box: its class and four numbers."""

_BOX, _SHORTEST_POLYGON = 4, 6

_MANY = 3
"""So many triangles are no coincidence."""

_SEPARATORS = re.compile(r"[\s,;]+")


def resembles_row(text: str) -> bool:
    """Return whether a line is meant as a row: a class, by number or name, and at least four numbers.

    Rows that cannot be read count, too, such as those with commas: they are reported, and not passed over as text.
    """
    _, *rest = [value for value in _SEPARATORS.split(text) if value] or [""]
    try:
        return len([float(value) for value in rest]) >= _BOX
    except ValueError:
        return False


def end_with_track_ids(rows: Iterable[str]) -> bool:
    """Return whether the rows of a dataset were saved by a tracker: class, box or polygon, confidence, track id.

    `save_txt` of Ultralytics writes them in this order. Read as polygons, their last point is (confidence, id). So this
    holds if the last point of every polygon has a whole number as y, and all rows have the length of a tracked box or
    one of the numbers is beyond 1.
    """
    lengths, last = set(), []
    for row in rows:
        values = _values(row)
        if values is None or len(values[1]) < _SHORTEST_POLYGON or len(values[1]) % 2:
            continue
        lengths.add(len(values[1]))
        last.append(values[1][-2:])
        if not (last[-1][1].is_integer() and last[-1][1] >= -1 and 0 <= last[-1][0] <= 1):
            return False
    return bool(last) and (lengths == {_SHORTEST_POLYGON} or max(track for _, track in last) > 1)


def are_triangles(rows: Iterable[str]) -> bool:
    """Return whether all polygons of a dataset, and there are some, have three points: rows of seven columns."""
    lengths = [len(values[1]) for values in map(_values, rows) if values is not None and len(values[1]) > _BOX]
    return len(lengths) >= _MANY and set(lengths) == {_SHORTEST_POLYGON}


def to_annotation(row: str, height: int, width: int, *, tracked: bool = False) -> dict[str, Any] | None:
    """Return a row as a COCO annotation in pixels; None if it is malformed.

    Args:
        row: class cx cy width height, or class x1 y1 x2 y2 x3 y3 ..., relative to the size of the image.
        height: of the image in pixels.
        width: of the image in pixels.
        tracked: leave out the last two numbers of rows that are not plain boxes: confidence and track id.
    """
    parsed = _values(row)
    if parsed is None:
        return None
    category, values = parsed
    if tracked and len(values) >= _SHORTEST_POLYGON:
        values = values[:-2]
    if len(values) == _BOX:
        x, y, w, h = values
        box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
        return {"category_id": category, "bbox": box, "area": _finite(box[2] * box[3])}
    if len(values) < _SHORTEST_POLYGON or len(values) % 2:
        return None
    xs, ys = [x * width for x in values[0::2]], [y * height for y in values[1::2]]
    polygon = [value for point in zip(xs, ys, strict=True) for value in point]
    if not all(map(math.isfinite, polygon)):
        return {"category_id": category, "bbox": [math.nan] * 4}
    left, top = min(xs), min(ys)
    box = [left, top, max(xs) - left, max(ys) - top]
    doubled = sum(x * ys[i - 1] - xs[i - 1] * y for i, (x, y) in enumerate(zip(xs, ys, strict=True)))
    return {"category_id": category, "bbox": box, "segmentation": [polygon], "area": _finite(abs(doubled) / 2)}


def _values(row: str) -> tuple[int | str, list[float]] | None:
    """Return the class, as text if it is not a whole number, and the other numbers of a row."""
    if not row.strip():
        return None
    first, *rest = row.split()
    try:
        values = [float(text) for text in rest]
        number = float(first)
    except ValueError:
        return None
    return int(number) if number.is_integer() else first, values


def _finite(area: float) -> float | None:
    return area if math.isfinite(area) else None
