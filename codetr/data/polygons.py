"""Outline masks by polygons."""

from __future__ import annotations

from typing import Any

import contourpy
import numpy as np
from numpy.typing import NDArray


def mask_polygon(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return one polygon around the pixels of a mask.

    Parts and holes become rings of one polygon, joined by bridges of zero width: formats such as that of YOLO have one
    polygon for an object. Filled by the even-odd rule it is the mask, except for pixels that touch by a corner only.

    Args:
        mask: (height, width) bool.

    Returns:
        (points, 2) float64 x, y in pixels, the left top corner of the image at (0, 0); empty if the mask is.
    """
    padded = np.pad(mask, 1).astype(np.float64)
    height, width = padded.shape
    # The centre of the first pixel of the padding is at (-0.5, -0.5).
    lines: Any = contourpy.contour_generator(np.arange(width) - 0.5, np.arange(height) - 0.5, padded).lines(0.5)
    rings = sorted((_without_collinear(line[:-1]) for line in lines), key=len, reverse=True)
    polygon: NDArray[np.float64] = np.empty((0, 2)) if not rings else rings[0]
    for ring in rings[1:]:
        polygon = _bridged(polygon, ring)
    return polygon


def _without_collinear(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a closed line of points without those on the line between their neighbours."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    kept: NDArray[np.float64] = points[turns != 0]
    return kept


def _bridged(polygon: NDArray[np.float64], ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a polygon that goes around another ring as well, from the point of it that is nearest to the first."""
    start = ring[0]
    i = int(((polygon - start) ** 2).sum(axis=1).argmin())
    j = int(((ring - polygon[i]) ** 2).sum(axis=1).argmin())
    return np.concatenate([polygon[: i + 1], ring[j:], ring[: j + 1], polygon[i:]])
