"""Convert the rows of YOLO label files to COCO annotations in pixels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

BOX_COLUMNS = 5
"""Columns of a row with a box: its class and four numbers."""

_BOX, _SHORTEST_POLYGON = 4, 6

_MANY, _MANY_FLAGS = 3, 6
"""So many triangles, or visibilities, are no coincidence."""

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


def keypoints_in(rows: Iterable[str]) -> tuple[int, bool]:
    """Return how many keypoints the rows of a dataset have after their boxes, 0 if they are something else.

    Pose datasets have them as x y visibility or x y. Visibilities of 0, 1 or 2 at every third place are no coincidence.
    Without them, rows are taken for keypoints if all have the same length and all points lie in the boxes, while w h,
    the second point of a polygon, lies far from the others in most rows. That is likely, but not certain.

    Returns:
        The number of keypoints, and whether they are certain.
    """
    found = [values[1] for values in map(_values, rows) if values is not None and len(values[1]) > _BOX]
    lengths = {len(values) for values in found}
    if len(lengths) != 1:
        return 0, False
    columns = lengths.pop() - _BOX
    if columns % 3 == 0:
        triples = [[values[k : k + 3] for k in range(_BOX, len(values), 3)] for values in found]
        seen = [[(x, y) for x, y, visibility in row if visibility] for row in triples]
        flags = [visibility for row in triples for _, _, visibility in row]
        if len(flags) >= _MANY_FLAGS and {0, 1, 2}.issuperset(flags) and all(map(_in_box, found, seen)):
            return columns // 3, True
    if columns % 2 == 0 and columns > 2 and len(found) >= _MANY:
        points = [list(zip(values[_BOX::2], values[_BOX + 1 :: 2], strict=True)) for values in found]
        apart = sum(map(_is_apart, found, points))
        if 2 * apart > len(found) and all(map(_in_box, found, points)):
            return columns // 2, False
    return 0, False


def _in_box(values: Sequence[float], points: Sequence[tuple[float, float]]) -> bool:
    """Return whether the first four numbers are a box in the image that contains the points; (0, 0) is not seen."""
    x, y, width, height = values[:_BOX]
    slack = 0.1 * max(width, height)
    inside = abs(x - 0.5) + width / 2 <= 0.51 and abs(y - 0.5) + height / 2 <= 0.51
    return (inside and width > 0 and height > 0) and all(
        (abs(px - x) <= width / 2 + slack and abs(py - y) <= height / 2 + slack) or px == py == 0 for px, py in points
    )


def _is_apart(values: Sequence[float], points: Sequence[tuple[float, float]]) -> bool:
    """Return whether the width and height of a box, as a point, are farther from the others than these from another."""
    for k, value in enumerate(values[2:_BOX]):
        others = [values[k], *(point[k] for point in points if point != (0, 0))]
        extent = max(others) - min(others)
        if not min(others) - extent <= value <= max(others) + extent:
            return True
    return False


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
