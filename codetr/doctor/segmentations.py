"""Measure the extent and the area of every segmentation of a split, all polygons at once.

COCO has 45 million polygon coordinates: reading them takes minutes as Python objects, and seconds as one array.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from codetr.data.segmentation import encode, mask_area

_NUMBERS_ONLY = bytes.maketrans(b"[],", b"   ")


@dataclass(frozen=True)
class Segmentations:
    """Extents and areas of the segmentations of the objects of a split.

    Attributes:
        extents_xyxy: (objects, 4) in pixels: around polygon points, or around the pixels of a run-length
            code; NaN without segmentation.
        areas: (objects,) square pixels: the sum over polygons, or the number of pixels; NaN without segmentation.
        arrays: the index they are from.
        replacements: segmentations that replace those of the index, by object.
    """

    extents_xyxy: NDArray[np.float64]
    areas: NDArray[np.float64]
    arrays: Mapping[str, NDArray[Any]]
    replacements: Mapping[int, list[list[float]] | None] = field(default_factory=dict)

    @property
    def present(self) -> NDArray[np.bool_]:
        """(objects,) whether there is a segmentation."""
        return ~np.isnan(self.areas)

    def count_pixels(self, objects: NDArray[np.int64], sizes_wh: NDArray[np.int32]) -> NDArray[np.float64]:
        """Count the pixels of the segmentations of some objects.

        Args:
            objects: (n,) objects with a segmentation.
            sizes_wh: (objects, 2) width and height of the images of all objects.
        """
        values = map(self._value, objects.tolist())
        sizes = sizes_wh[objects].tolist()
        return np.array([mask_area(value, height, width) for value, (width, height) in zip(values, sizes, strict=True)])

    def replaced(self, polygons: Mapping[int, list[list[float]] | None]) -> Self:
        """Return the segmentations with other polygons for some objects, None for no segmentation."""
        if not polygons:
            return self
        texts = [b"" if value is None else json.dumps(value).encode() for value in polygons.values()]
        offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
        measured = measure_segmentations(
            {"segmentations": np.frombuffer(b"".join(texts), np.uint8), "segmentation_offsets": offsets}
        )
        extents_xyxy, areas, objects = self.extents_xyxy.copy(), self.areas.copy(), list(polygons)
        extents_xyxy[objects], areas[objects] = measured.extents_xyxy, measured.areas
        return type(self)(extents_xyxy, areas, self.arrays, {**self.replacements, **polygons})

    def _value(self, k: int) -> Any:
        if k in self.replacements:
            return self.replacements[k]
        start, stop = self.arrays["segmentation_offsets"][k : k + 2]
        return json.loads(self.arrays["segmentations"][start:stop].tobytes())


def measure_segmentations(arrays: Mapping[str, NDArray[Any]], *, chunk: int = 1 << 25) -> Segmentations:
    """Measure the segmentations in the arrays of an index; they were checked when it was written.

    Args:
        arrays: `segmentations` and `segmentation_offsets`.
        chunk: bytes of segmentations that are read at a time.
    """
    offsets, content = np.asarray(arrays["segmentation_offsets"]), arrays["segmentations"]
    count = len(offsets) - 1
    segmentations = Segmentations(np.full((count, 4), np.nan), np.full(count, np.nan), arrays)
    start = 0
    while start < count:
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + chunk, side="right")) - 1)
        text = np.array(content[offsets[start] : offsets[stop]])
        filled = np.flatnonzero(np.diff(offsets[start : stop + 1]))
        begins = offsets[start:stop][filled] - offsets[start]
        ends = offsets[start + 1 : stop + 1][filled] - offsets[start]
        polygons = text[begins] == ord("[")
        for k, begin, end in zip(filled[~polygons], begins[~polygons], ends[~polygons], strict=True):
            value = json.loads(text[begin:end].tobytes())
            code = encode(value, *value["size"])
            x, y, width, height = coco_mask.toBbox(code)
            segmentations.extents_xyxy[start + k] = x, y, x + width, y + height
            segmentations.areas[start + k] = coco_mask.area(code)
            text[begin:end] = ord(" ")
        if polygons.any():
            extents, areas = _measure_polygons(text, begins[polygons])
            segmentations.extents_xyxy[start + filled[polygons]] = extents
            segmentations.areas[start + filled[polygons]] = areas
        start = stop
    return segmentations


def _measure_polygons(
    text: NDArray[np.uint8], begins: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return extents and areas of the objects whose polygons begin at these positions of a text."""
    opening, closing = text == ord("["), text == ord("]")
    # A number ends at a comma or bracket that no bracket precedes; a polygon begins where no second bracket follows.
    after_bracket = np.concatenate([[True], closing[:-1]])
    number_ends = np.flatnonzero(((text == ord(",")) | closing) & ~after_bracket)
    polygon_at = np.flatnonzero(opening & ~np.concatenate([opening[1:], [False]]))
    values = np.fromstring(text.tobytes().translate(_NUMBERS_ONLY), np.float64, sep=" ")
    x, y = values[0::2], values[1::2]

    first_point = np.searchsorted(number_ends, polygon_at) // 2
    following = np.arange(1, len(x) + 1)
    following[np.concatenate([first_point[1:], [len(x)]]) - 1] = first_point
    # Relative to the polygon's first point, so that large coordinates do not cost digits.
    lengths = np.diff(np.concatenate([first_point, [len(x)]]))
    dx, dy = x - np.repeat(x[first_point], lengths), y - np.repeat(y[first_point], lengths)
    areas = np.abs(np.add.reduceat(dx * dy[following] - dx[following] * dy, first_point)) / 2

    first_polygon = np.searchsorted(polygon_at, begins)
    points = first_point[first_polygon]
    extents = np.stack(
        [
            np.minimum.reduceat(x, points),
            np.minimum.reduceat(y, points),
            np.maximum.reduceat(x, points),
            np.maximum.reduceat(y, points),
        ],
        axis=1,
    )
    return extents, np.add.reduceat(areas, first_polygon)
