"""Check the boxes of all objects of a split against each other, the image and the segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from codetr.data.annotation_table import first_equal_row
from codetr.data.dataset.index import object_images
from codetr.data.validation import rules
from codetr.doctor.segmentations import Segmentations

DUPLICATE_IOU = 0.95
"""IoU from which on two boxes count as nearly equal."""

MIN_INPUT_AREA = 64.0
"""Square pixels of the network input: 8 by 8, one cell of the finest feature map of most detectors."""

_ELONGATED, _WHOLE, _AREA_TOLERANCE = 20.0, 0.98, 0.2


@dataclass(frozen=True)
class SplitObjects:
    """The objects of a split: a view of the arrays of its index, with what the checks need of their images.

    Attributes:
        boxes_xywh: (objects, 4) float64 in pixels, as annotated.
        labels: (objects,) int32.
        areas: (objects,) float64 square pixels, as annotated.
        iscrowd: (objects,) bool.
        boxes_xyxy: (objects, 4) float64 corners of the same boxes.
        image_index: (objects,) int64 position of the image in the split.
        sizes_wh: (objects, 2) int32 width and height of the image.
    """

    boxes_xywh: NDArray[np.float64]
    labels: NDArray[np.int32]
    areas: NDArray[np.float64]
    iscrowd: NDArray[np.bool_]
    boxes_xyxy: NDArray[np.float64]
    image_index: NDArray[np.int64]
    sizes_wh: NDArray[np.int32]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the objects in the arrays of an index, which are not copied; the last three are computed."""
        image_index = object_images(arrays)
        boxes_xywh = np.asarray(arrays["boxes_xywh"])
        return cls(
            boxes_xywh=boxes_xywh,
            labels=np.asarray(arrays["labels"]),
            areas=np.asarray(arrays["areas"]),
            iscrowd=np.asarray(arrays["iscrowd"]),
            boxes_xyxy=np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1),
            image_index=image_index,
            sizes_wh=np.asarray(arrays["sizes"])[image_index][:, ::-1],
        )

    def take(self, chosen: NDArray[np.bool_]) -> Self:
        """Return the objects for which (objects,) `chosen` is true."""
        return type(self)(*(getattr(self, entry.name)[chosen] for entry in fields(self)))

    @property
    def inside_xyxy(self) -> NDArray[np.float64]:
        """(objects, 4) corners of the part inside the image."""
        return clip(self.boxes_xyxy, self.sizes_wh)


def clip(xyxy: NDArray[np.float64], sizes_wh: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return (objects, 4) boxes clipped at the borders of images of (objects, 2) width and height."""
    return np.clip(xyxy, 0, np.tile(sizes_wh, 2))


def exceeds_image(objects: SplitObjects) -> NDArray[np.bool_]:
    """Return (objects,) whether a box exceeds its image by more than a pixel."""
    exceeds: NDArray[np.bool_] = rules.exceeds_image(*objects.boxes_xyxy.T, *objects.sizes_wh.T)
    return exceeds


def is_tiny(objects: SplitObjects) -> NDArray[np.bool_]:
    """Return (objects,) whether less than a pixel of width or height is inside the image."""
    tiny: NDArray[np.bool_] = rules.is_tiny(*objects.boxes_xywh.T, *objects.sizes_wh.T)
    return tiny


def is_small_at_input(objects: SplitObjects, scales: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (objects,) whether an object covers less than `MIN_INPUT_AREA` in images scaled by (images,) `scales`."""
    areas = _sides(objects.inside_xyxy).prod(axis=1) * scales[objects.image_index] ** 2
    small: NDArray[np.bool_] = (areas < MIN_INPUT_AREA) & ~objects.iscrowd & ~is_tiny(objects)
    return small


def is_elongated(objects: SplitObjects) -> NDArray[np.bool_]:
    """Return (objects,) whether a box is more than twenty times as long as wide."""
    sides = objects.boxes_xywh[:, 2:]
    elongated: NDArray[np.bool_] = sides.max(axis=1) > _ELONGATED * sides.min(axis=1)
    return elongated & ~objects.iscrowd & ~is_tiny(objects)


def covers_image(objects: SplitObjects) -> NDArray[np.bool_]:
    """Return (objects,) whether a box covers at least 98 % of its image."""
    areas = _sides(objects.inside_xyxy).prod(axis=1)
    covers: NDArray[np.bool_] = (areas >= _WHOLE * objects.sizes_wh.prod(axis=1)) & ~objects.iscrowd
    return covers


def area_disagrees(objects: SplitObjects, segmentations: Segmentations) -> NDArray[np.bool_]:
    """Return (objects,) whether an area disagrees with its box, by the rule of `prepare`."""
    width, height = objects.boxes_xywh[:, 2:].T
    contradicts: NDArray[np.bool_] = rules.area_contradicts_box(objects.areas, width, height, ~segmentations.present)
    return contradicts


def area_disagrees_with_segmentation(objects: SplitObjects, segmentations: Segmentations) -> NDArray[np.bool_]:
    """Return (objects,) whether an area differs from that of the segmentation by more than a fifth and rounding.

    Crowds are left out: they are annotated coarsely. Tools count the pixels along the border or not, so half of the
    perimeter of the box is tolerated. Polygons may overlap, which the sum of their areas ignores, so an area that
    disagrees with the sum is compared with the number of pixels, too.
    """

    def differs(k: slice | NDArray[np.int64], areas: NDArray[np.float64]) -> NDArray[np.bool_]:
        allowed = np.maximum(_AREA_TOLERANCE * areas, objects.boxes_xywh[k, 2:].sum(axis=1))
        exceeds: NDArray[np.bool_] = np.abs(objects.areas[k] - areas) > allowed
        return exceeds

    found = differs(slice(None), segmentations.areas) & ~objects.iscrowd & ~area_disagrees(objects, segmentations)
    doubtful = np.flatnonzero(found)
    found[doubtful] = differs(doubtful, segmentations.count_pixels(doubtful, objects.sizes_wh))
    return found


def box_disagrees_with_segmentation(objects: SplitObjects, segmentations: Segmentations) -> NDArray[np.bool_]:
    """Return (objects,) whether an edge inside the image is over 2 pixels and 10 % of its side off the segmentation."""
    extents = clip(segmentations.extents_xyxy, objects.sizes_wh)
    sides = np.maximum(_sides(extents), _sides(objects.inside_xyxy))
    allowed = np.maximum(2.0, 0.1 * np.tile(sides, 2))
    disagrees: NDArray[np.bool_] = np.any(np.abs(objects.inside_xyxy - extents) > allowed, axis=1)
    return disagrees


def segmentation_exceeds_image(objects: SplitObjects, segmentations: Segmentations) -> NDArray[np.bool_]:
    """Return (objects,) whether a segmentation has points more than a pixel outside the image."""
    exceeds: NDArray[np.bool_] = rules.exceeds_image(*segmentations.extents_xyxy.T, *objects.sizes_wh.T)
    return exceeds


def find_repeated(objects: SplitObjects) -> NDArray[np.int64]:
    """Return (objects,) the first object of the same image, class, box and crowd flag; -1 for that one itself."""
    return first_equal_row((*objects.boxes_xywh.T, objects.labels, objects.iscrowd, objects.image_index))


def find_near_copies(objects: SplitObjects, repeated: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find, for every object, an earlier object of the same image whose box is nearly equal.

    Crowds and exact repetitions are left out. Boxes are compared from left to right; the search ends at a box that
    begins too far right to overlap enough, so images with thousands of objects are quick, too.

    Args:
        objects: the objects of a split.
        repeated: (objects,) what `find_repeated` returned.

    Returns:
        The earlier object of the same class, and that of another class, (objects,) each; -1 if there is none.
    """
    same_class, other_class = np.full((2, len(objects.labels)), -1)
    considered = np.flatnonzero(~objects.iscrowd & (repeated < 0) & (objects.boxes_xywh[:, 2:] > 0).all(axis=1))
    order = considered[np.lexsort((objects.boxes_xyxy[considered, 0], objects.image_index[considered]))]
    boxes, image, labels = objects.boxes_xyxy[order], objects.image_index[order], objects.labels[order]
    reach = boxes[:, 0] + (1 / DUPLICATE_IOU - 1) * (boxes[:, 2] - boxes[:, 0])
    left, lag = np.arange(len(order)), 1
    while len(left):
        left = left[left + lag < len(order)]
        right = left + lag
        left = left[(image[left] == image[right]) & (boxes[right, 0] <= reach[left])]
        right = left + lag
        near = _iou(boxes[left], boxes[right]) >= DUPLICATE_IOU
        for partners, chosen in (
            (same_class, near & (labels[left] == labels[right])),
            (other_class, near & (labels[left] != labels[right])),
        ):
            first, second = np.sort(np.stack([order[left[chosen]], order[right[chosen]]]), axis=0)
            free = partners[second] < 0
            partners[second[free]] = first[free]
        lag += 1
    return same_class, other_class


def _iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (n,) IoU of pairs of boxes, (n, 4) x1, y1, x2, y2 each."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    intersection = np.maximum(sides, 0).prod(axis=1)
    iou: NDArray[np.float64] = intersection / (_sides(a).prod(axis=1) + _sides(b).prod(axis=1) - intersection)
    return iou


def _sides(xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    return xyxy[:, 2:] - xyxy[:, :2]
