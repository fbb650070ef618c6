"""Large-scale jitter and copy-paste (Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation", CVPR 2021).

Every rounding follows the pipeline the published weights were made with: resize, crop, boxes anew from the masks,
flip, grey canvas, then objects of a second image that went through the same.

An object without a segmentation counts as its box: what is pasted is the rectangle, and where another one covers a part
of it, its box is the one around the rest. A box that nothing covers is scaled and clipped, but not rounded.
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


class Unreduced(NamedTuple):
    """An image as annotated, with masks that are decoded one by one: all those of a photograph take gigabytes.

    Attributes:
        sample: without masks.
        masks: (height, width) bool for every object, in order; None for one that has no segmentation. None instead of
            all of them where only boxes are wanted.
    """

    sample: Sample
    masks: Iterable[NDArray[np.bool_] | None] | None

    def with_masks(self) -> Sample:
        """The sample with all masks at once, where each object has one."""
        assert self.masks is not None
        masks = np.zeros((len(self.sample.labels), *self.sample.image.shape[:2]), bool)
        for mask, own in zip(masks, self.masks, strict=True):
            mask[:] = own
        return replace(self.sample, masks=masks)


Recolour = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""An image, (height, width, 3) uint8 RGB, in other colours."""


def jittered(
    load: Callable[[int], Unreduced],
    index: int,
    count: int,
    config: JitterConfig,
    random: np.random.Generator,
    recolour: Recolour = lambda image: image,
) -> tuple[int, Sample]:
    """A canvas from image `index`, with objects of another image pasted onto it.

    An image of which no object is left is replaced by another one, drawn at random.

    Args:
        load: gives an image by index.
        index: of the image.
        count: number of images to draw from.
        config: sizes and probabilities.
        random: what to draw from.
        recolour: what is done to the colours of both images.

    Returns:
        The index of the image that is on the canvas, and a sample of (canvas, canvas) pixels, with masks.
    """
    used, image = _reduced(load, index, count, config, random)
    onto = on_canvas(_recoloured(image, recolour), config.canvas)
    if not config.max_pasted:
        return used, onto
    # Unlike the official code this never draws an index past the last image.
    _, source = _reduced(load, int(random.integers(count)), count, config, random)
    pasted = int(random.integers(min(len(source.labels) + 1, config.max_pasted)))
    chosen = select(source, random.choice(len(source.labels), pasted, replace=False))
    return used, paste(onto, on_canvas(_recoloured(chosen, recolour), config.canvas))


def _recoloured(sample: Sample, recolour: Recolour) -> Sample:
    return replace(sample, image=recolour(sample.image))


def _reduced(
    load: Callable[[int], Unreduced], index: int, count: int, config: JitterConfig, random: np.random.Generator
) -> tuple[int, Sample]:
    """An image resized, cropped to fit the canvas, and perhaps flipped, and its index: that of another one if no object
    was left of the one at `index`."""
    for _ in range(_MAX_DRAWS):
        image = load(index)
        side = int(config.canvas * random.uniform(*config.scale))
        size = rescaled_size(image.sample.image.shape[0], image.sample.image.shape[1], side, side)
        sample = cut(image, size, draw_crop(*size, (config.canvas, config.canvas), random))
        if len(sample.labels):
            return index, flip(sample) if random.random() < config.flip_probability else sample
        used, index = index, int(random.integers(count))
    return used, sample


def cut(image: Unreduced, size: tuple[int, int], window: tuple[int, int, int, int]) -> Sample:
    """Resize, cut out a window, and draw boxes anew around what is left of every mask.

    The box of an object without a mask is resized and cut itself, and its mask are the pixels whose middle it holds.

    Args:
        image: as annotated.
        size: (height, width) to resize to.
        window: (top, left, height, width) in the resized image.

    Returns:
        the objects of whose masks something is left; boxes around them are whole pixels. No masks come of none, and
        the objects and their boxes are as if each had no segmentation.
    """
    top, left, height, width = window
    place = slice(top, top + height), slice(left, left + width)
    rows, columns = image.sample.image.shape[:2]
    factors = np.array([size[1] / columns, size[0] / rows] * 2, np.float32)
    boxes = clip(image.sample.boxes * factors - np.array([left, top, left, top], np.float32), height, width)
    pixels = np.ascontiguousarray(resize(image.sample.image, *size)[place])
    corners = np.floor(boxes + np.float32(0.5)).astype(np.int64)
    if image.masks is None:
        left_over = np.flatnonzero((corners[:, 2:] > corners[:, :2]).all(axis=1))
        return select(Sample(pixels, boxes, image.sample.labels), left_over)
    masks = np.zeros((len(boxes), height, width), bool)
    for box, (x1, y1, x2, y2), reduced, mask in zip(boxes, corners, masks, image.masks, strict=True):
        if mask is None:
            reduced[y1:y2, x1:x2] = True
        else:
            reduced[:] = resize_mask(mask, *size, place)
            box[:] = boxes_around(reduced[None])[0]
    return select(Sample(pixels, boxes, image.sample.labels, masks), np.flatnonzero(masks.any(axis=(1, 2))))


def on_canvas(sample: Sample, side: int) -> Sample:
    """Put a sample into the top-left corner of a grey square."""
    assert sample.masks is not None
    masks = np.zeros((len(sample.labels), side, side), bool)
    masks[:, : sample.image.shape[0], : sample.image.shape[1]] = sample.masks
    return Sample(fill_canvas(sample.image, side), sample.boxes, sample.labels, masks)


def paste(onto: Sample, source: Sample) -> Sample:
    """Paste all objects of `source` onto a sample of the same size.

    An object below stays if its box hardly changes or enough of its pixels stay visible.
    """
    assert onto.masks is not None
    assert source.masks is not None
    covered: NDArray[np.bool_] = np.logical_or.reduce(source.masks, axis=0)
    masks = onto.masks & ~covered
    touched = (onto.masks & covered).any(axis=(1, 2))
    boxes = onto.boxes.copy()
    boxes[touched] = boxes_around(masks[touched])
    hardly_changed = (np.abs(boxes - onto.boxes) <= _MAX_BOX_CHANGE).all(axis=1)
    visible = masks.sum(axis=(1, 2))
    # The official code also keeps a wholly covered object if it was tiny and in the corner.
    stays = np.flatnonzero((visible > 0) & (hardly_changed | (visible > _MIN_VISIBLE_PIXELS)))
    return Sample(
        np.where(covered[..., None], source.image, onto.image),
        np.concatenate([boxes[stays], source.boxes]),
        np.concatenate([onto.labels[stays], source.labels]),
        np.concatenate([masks[stays], source.masks]),
    )


def select(sample: Sample, objects: NDArray[np.int64]) -> Sample:
    """The sample with only some of its objects, (objects,) indices."""
    masks = None if sample.masks is None else sample.masks[objects]
    return Sample(sample.image, sample.boxes[objects], sample.labels[objects], masks)


def boxes_around(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(objects, height, width) masks to (objects, 4) xyxy boxes in whole pixels; zeros for an empty mask."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        if len(columns):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes
