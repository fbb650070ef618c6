"""Training augmentation of DETR (Carion et al., ECCV 2020, appendix A.4): flip, then resize or resize-crop-resize.

The order of operations and every rounding are those of the pipeline that the published weights were trained with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codetr.data.config import AugmentConfig
from codetr.data.transforms.resize import rescaled_size, resize, resize_mask
from codetr.data.transforms.sample import Sample


def augment(sample: Sample, config: AugmentConfig, random: np.random.Generator) -> Sample:
    """Flip, crop and resize at random. Objects outside of the crop are removed."""
    if random.random() < config.flip_probability:
        sample = flip(sample)
    if config.crop is not None and random.random() < config.crop.probability:
        short_side = int(random.choice(config.crop.short_sides))
        sample = rescale(sample, short_side, config.crop.long_side)
        sample = crop(sample, *draw_crop(sample.image.shape[0], sample.image.shape[1], config.crop.size, random))
    return rescale(sample, int(random.choice(config.short_sides)), config.long_side)


def flip(sample: Sample) -> Sample:
    """Mirror left to right."""
    boxes = sample.boxes.copy()
    width = np.float32(sample.image.shape[1])
    boxes[:, 0], boxes[:, 2] = width - sample.boxes[:, 2], width - sample.boxes[:, 0]
    masks = None if sample.masks is None else sample.masks[:, :, ::-1]
    return Sample(np.ascontiguousarray(sample.image[:, ::-1]), boxes, sample.labels, masks)


def rescale(sample: Sample, short_side: int, long_side: int) -> Sample:
    """Resize in proportion, up to rounding; boxes are scaled by the exact factors of both sides and clipped."""
    height, width = sample.image.shape[:2]
    new_height, new_width = rescaled_size(height, width, short_side, long_side)
    factors = np.array([new_width / width, new_height / height] * 2, np.float32)
    boxes = clip(sample.boxes * factors, new_height, new_width)
    masks = sample.masks
    if masks is not None:
        resized = [resize_mask(mask, new_height, new_width) for mask in masks]
        masks = np.stack(resized) if resized else np.zeros((0, new_height, new_width), bool)
    return Sample(resize(sample.image, new_height, new_width), boxes, sample.labels, masks)


def draw_crop(height: int, width: int, size: tuple[int, int], random: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw (top, left, crop_height, crop_width) for an image of this size.

    Args:
        height: of the image.
        width: of the image.
        size: (smallest, largest) side of the crop in pixels; a side that is too short is not cropped.
        random: the generator.
    """
    low, high = size
    crop_height = int(random.integers(min(height, low), min(height, high) + 1))
    crop_width = int(random.integers(min(width, low), min(width, high) + 1))
    top = int(random.integers(0, height - crop_height + 1))
    left = int(random.integers(0, width - crop_width + 1))
    return top, left, crop_height, crop_width


def crop(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """Crop a sample to a rectangle; boxes are clipped to it, and objects outside of it are removed."""
    rows, columns = slice(top, top + height), slice(left, left + width)
    boxes = clip(sample.boxes - np.array([left, top, left, top], np.float32), height, width)
    keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    masks = None if sample.masks is None else sample.masks[keep][:, rows, columns]
    return Sample(np.ascontiguousarray(sample.image[rows, columns]), boxes[keep], sample.labels[keep], masks)


def clip(boxes_xyxy: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Clip (boxes, 4) xyxy boxes in pixels to an image, in place."""
    boxes_xyxy[:, 0::2] = boxes_xyxy[:, 0::2].clip(0, width)
    boxes_xyxy[:, 1::2] = boxes_xyxy[:, 1::2].clip(0, height)
    return boxes_xyxy
