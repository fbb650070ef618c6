"""Define the rules for valid annotations once, for single numbers and for arrays.

Arguments are numbers or arrays that NumPy can broadcast, coordinates in pixels; `columns` and `rows` are the width and
the height of the image. Results are booleans, or arrays of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

MAX_COORDINATE = 1e6
"""Pixels; a larger coordinate is an error, and would make native code allocate memory accordingly."""


NEARLY_NOTHING = 1e-9
"""Twice the area of a polygon without inside, as a share of its squared extent: rounding errors only."""


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a JSON value is a number; for Python, true and false are numbers too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_number(value: Any) -> Any:
    """Return the number that a text stands for, None if it is none; values of other types stay as they are."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return None


def is_within_reach(coordinate: Any) -> Any:
    """Return whether a coordinate or a side is finite and at most `MAX_COORDINATE`."""
    return abs(coordinate) <= MAX_COORDINATE  # NaN is not less than anything


def lies_outside(x: Any, y: Any, width: Any, height: Any, columns: Any, rows: Any) -> Any:
    """Return whether a box does not intersect its image."""
    return (x >= columns) | (y >= rows) | (x + width <= 0) | (y + height <= 0)


def exceeds_image(x1: Any, y1: Any, x2: Any, y2: Any, columns: Any, rows: Any) -> Any:
    """Return whether the corners of a box or segmentation are more than a pixel outside the image."""
    return (x1 < -1) | (y1 < -1) | (x2 > columns + 1) | (y2 > rows + 1)


def is_tiny(x: Any, y: Any, width: Any, height: Any, columns: Any, rows: Any) -> Any:
    """Return whether less than a pixel of width or height is inside the image: too little to train on."""
    inner_width = np.minimum(x + width, columns) - np.maximum(x, 0)
    inner_height = np.minimum(y + height, rows) - np.maximum(y, 0)
    return (inner_width < 1) | (inner_height < 1)


def seems_relative(x2: Any, y2: Any, width: Any, height: Any) -> Any:
    """Return whether a segmentation that ends at x2, y2 is within the first pixel, and its box is no such thing."""
    return (x2 <= 1) & (y2 <= 1) & ((width > 2) | (height > 2))


def is_degenerate_polygon(coordinates: Any) -> Any:
    """Return whether a number of polygon coordinates means fewer than three points, or is odd."""
    return (coordinates < 6) | (coordinates % 2 != 0)


def encloses_nothing(polygon: Sequence[float]) -> bool:
    """Return whether a polygon has no inside: all of its points are on a line, or every edge is gone there and back.

    Args:
        polygon: x0, y0, x1, y1, ... in pixels.
    """
    points = np.asarray(polygon, np.float64).reshape(-1, 2)
    if abs(_doubled_area(points)) > NEARLY_NOTHING * _squared_extent(points):
        return False
    offsets = points - points[0]
    farthest = offsets[np.argmax((offsets**2).sum(axis=1))]
    across = offsets[:, 0] * farthest[1] - offsets[:, 1] * farthest[0]
    if (np.abs(across) <= NEARLY_NOTHING * _squared_extent(points)).all():
        return True
    edges = Counter(zip(map(tuple, points.tolist()), map(tuple, np.roll(points, -1, axis=0).tolist()), strict=True))
    return all(edges[second, first] == count for (first, second), count in edges.items() if first != second)


def _doubled_area(points: NDArray[np.float64]) -> float:
    x, y = (points - points[0]).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def _squared_extent(points: NDArray[np.float64]) -> float:
    return float(((points.max(axis=0) - points.min(axis=0)) ** 2).sum())


def is_area(area: Any) -> Any:
    """Return whether a number is a possible area."""
    return (area >= 0) & (area <= MAX_COORDINATE**2)


def area_contradicts_box(area: Any, width: Any, height: Any, without_segmentation: Any) -> Any:
    """Return whether an area is larger than its box or, without a segmentation, differs from the area of the box."""
    box = width * height
    tolerance = 1 + 0.01 * box
    # Segmentations and boxes are rounded separately, so a mask may exceed its box by its perimeter.
    return (area > box + tolerance + 2 * (width + height)) | (without_segmentation & (abs(area - box) > tolerance))
