"""Large-scale jitter and copy-paste (Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation", CVPR 2021).

The order of operations and every rounding are those of the pipeline that the published weights were trained with:
resize, crop, boxes from the masks, flip, grey canvas, then pasted objects of a second image with the same transforms.

The filled box stands for the mask of an object without a segmentation: the rectangle is pasted, and if another object
covers a part of it, its box is the box around the rest. A box that nothing covers is scaled and clipped, not rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codetr.data.config import JitterConfig
from codetr.data.transforms.detr import clip, draw_crop, flip
from codetr.data.transforms.preprocess import fill_canvas
from codetr.data.transforms.resize import rescaled_size, resize, resize_mask
from codetr.data.transforms.sample import Sample

_MAX_BOX_CHANGE = 10
_MIN_VISIBLE_PIXELS = 300
_MAX_DRAWS = 1000


class LazySample(NamedTuple):
    """An annotated image whose masks are decoded one by one: together, those of a photograph can take gigabytes.

    Attributes:
        sample: without masks.
        masks: (height, width) bool for every object, in order, None for an object without a segmentation. None instead
            of the iterable if only boxes are used.
    """

    sample: Sample
    masks: Iterable[NDArray[np.bool_] | None] | None

    def with_masks(self) -> Sample:
        """Return the sample with all masks at once; every object must have one."""
        assert self.masks is not None
        masks = np.zeros((len(self.sample.labels), *self.sample.image.shape[:2]), bool)
        for target, mask in zip(masks, self.masks, strict=True):
            target[:] = mask
        return replace(self.sample, masks=masks)


ColourChange = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Change the colours of an image, (height, width, 3) uint8 RGB."""


def large_scale_jitter(
    load: Callable[[int], LazySample],
    index: int,
    count: int,
    config: JitterConfig,
    random: np.random.Generator,
    change_colour: ColourChange = lambda image: image,
) -> tuple[int, Sample]:
    """Put image `index` onto a canvas, and paste objects of another image onto it.

    An image with no object left after the crop is replaced by another one, drawn at random.

    Args:
        load: returns an image by index.
        index: of the image.
        count: number of images to draw from.
        config: sizes and probabilities.
        random: the generator.
        change_colour: applied to both images.

    Returns:
        The index of the image on the canvas, and a sample of (canvas, canvas) pixels, with masks.
    """
    used, image = _resized_and_cropped(load, index, count, config, random)
    onto = pad_to_canvas(_change_colour(image, change_colour), config.canvas)
    if not config.max_pasted:
        return used, onto
    # The official code can draw an index past the last image.
    _, source = _resized_and_cropped(load, int(random.integers(count)), count, config, random)
    pasted = int(random.integers(min(len(source.labels) + 1, config.max_pasted)))
    chosen = select_objects(source, random.choice(len(source.labels), pasted, replace=False))
    return used, paste_objects(onto, pad_to_canvas(_change_colour(chosen, change_colour), config.canvas))


def _change_colour(sample: Sample, change_colour: ColourChange) -> Sample:
    return replace(sample, image=change_colour(sample.image))


def _resized_and_cropped(
    load: Callable[[int], LazySample], index: int, count: int, config: JitterConfig, random: np.random.Generator
) -> tuple[int, Sample]:
    """Resize, crop and flip image `index`, or another one if it has no object left; also return the index used."""
    for _ in range(_MAX_DRAWS):
        image = load(index)
        side = int(config.canvas * random.uniform(*config.scale))
        size = rescaled_size(image.sample.image.shape[0], image.sample.image.shape[1], side, side)
        sample = resize_and_crop(image, size, draw_crop(*size, (config.canvas, config.canvas), random))
        if len(sample.labels):
            return index, flip(sample) if random.random() < config.flip_probability else sample
        used, index = index, int(random.integers(count))
    return used, sample


def resize_and_crop(image: LazySample, size: tuple[int, int], window: tuple[int, int, int, int]) -> Sample:
    """Resize an image, crop a window, and compute boxes from the cropped masks.

    The box of an object without a mask is resized and clipped, and its mask is the pixels with their centre in it.

    Args:
        image: as annotated.
        size: (height, width) to resize to.
        window: (top, left, height, width) in the resized image.

    Returns:
        The objects with a non-empty mask; boxes from masks are in whole pixels. If `image` has no masks, neither has
        the result, and its objects and boxes are as if no object had a segmentation.
    """
    top, left, height, width = window
    region = slice(top, top + height), slice(left, left + width)
    rows, columns = image.sample.image.shape[:2]
    factors = np.array([size[1] / columns, size[0] / rows] * 2, np.float32)
    boxes = clip(image.sample.boxes * factors - np.array([left, top, left, top], np.float32), height, width)
    pixels = np.ascontiguousarray(resize(image.sample.image, *size)[region])
    corners = np.floor(boxes + np.float32(0.5)).astype(np.int64)
    if image.masks is None:
        visible = np.flatnonzero((corners[:, 2:] > corners[:, :2]).all(axis=1))
        return select_objects(Sample(pixels, boxes, image.sample.labels), visible)
    masks = np.zeros((len(boxes), height, width), bool)
    for box, (x1, y1, x2, y2), reduced, mask in zip(boxes, corners, masks, image.masks, strict=True):
        if mask is None:
            reduced[y1:y2, x1:x2] = True
        else:
            reduced[:] = resize_mask(mask, *size, region)
            box[:] = boxes_from_masks(reduced[None])[0]
    return select_objects(Sample(pixels, boxes, image.sample.labels, masks), np.flatnonzero(masks.any(axis=(1, 2))))


def pad_to_canvas(sample: Sample, side: int) -> Sample:
    """Pad a sample with grey at the right and bottom to a square."""
    assert sample.masks is not None
    masks = np.zeros((len(sample.labels), side, side), bool)
    masks[:, : sample.image.shape[0], : sample.image.shape[1]] = sample.masks
    return Sample(fill_canvas(sample.image, side), sample.boxes, sample.labels, masks)


def paste_objects(onto: Sample, source: Sample) -> Sample:
    """Paste all objects of `source` onto a sample of the same size.

    A covered object is kept if its box hardly changes or enough of its pixels are still visible.
    """
    assert onto.masks is not None
    assert source.masks is not None
    covered: NDArray[np.bool_] = np.logical_or.reduce(source.masks, axis=0)
    masks = onto.masks & ~covered
    touched = (onto.masks & covered).any(axis=(1, 2))
    boxes = onto.boxes.copy()
    boxes[touched] = boxes_from_masks(masks[touched])
    hardly_changed = (np.abs(boxes - onto.boxes) <= _MAX_BOX_CHANGE).all(axis=1)
    visible = masks.sum(axis=(1, 2))
    # The official code also keeps a completely covered object if it is tiny and in the corner.
    kept = np.flatnonzero((visible > 0) & (hardly_changed | (visible > _MIN_VISIBLE_PIXELS)))
    return Sample(
        np.where(covered[..., None], source.image, onto.image),
        np.concatenate([boxes[kept], source.boxes]),
        np.concatenate([onto.labels[kept], source.labels]),
        np.concatenate([masks[kept], source.masks]),
    )


def select_objects(sample: Sample, objects: NDArray[np.int64]) -> Sample:
    """Return the sample with the objects at the (objects,) indices only."""
    masks = None if sample.masks is None else sample.masks[objects]
    return Sample(sample.image, sample.boxes[objects], sample.labels[objects], masks)


def boxes_from_masks(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return (objects, 4) xyxy boxes in whole pixels of (objects, height, width) masks; zeros for an empty mask."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        if len(columns):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes
