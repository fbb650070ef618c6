"""From decoded images to network input: test-time preprocessing, and DETR's training augmentation.

The order of operations and every rounding follow the pipeline the published weights were made with (DETR, Carion et
al. 2020, appendix A.4): flip, then resize or resize-crop-resize, normalise, pad at the right and bottom with zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codetr.data.config import AugmentConfig, PreprocessConfig
from codetr.data.resize import rescaled_size, resize, resize_mask

GREY = 114
"""What canvases are filled with before normalising."""


@dataclass(frozen=True)
class ImageSizes:
    """(height, width) in pixels: valid part of the network input, with its padding, and of the image file."""

    image: tuple[int, int]
    padded: tuple[int, int]
    original: tuple[int, int]


@dataclass(frozen=True)
class Sample:
    """One image with its objects, in one frame.

    Attributes:
        image: (height, width, 3) uint8 RGB.
        boxes: (objects, 4) float32 xyxy pixels.
        labels: (objects,) int64.
        masks: (objects, height, width) bool, or None when only boxes are wanted.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_] | None = None


def preprocess_image(image: NDArray[np.uint8], config: PreprocessConfig) -> tuple[Tensor, ImageSizes]:
    """Resize, normalise and pad an image as at test time.

    Args:
        image: (height, width, 3) uint8 RGB.
        config: sizes and normalisation.

    Returns:
        (3, padded_height, padded_width) float32, and the sizes before and after.
    """
    original = (image.shape[0], image.shape[1])
    if config.canvas is not None:
        size = rescaled_size(*original, config.canvas, config.canvas)
        pixels = normalise(fill_canvas(resize(image, *size), config.canvas), config)
        return pixels, ImageSizes(size, (config.canvas, config.canvas), original)
    size = rescaled_size(*original, config.short_side, config.long_side)
    pixels = pad(normalise(resize(image, *size), config), config.pad_divisor)
    return pixels, ImageSizes(size, (pixels.shape[1], pixels.shape[2]), original)


def normalise(image: NDArray[np.uint8], config: PreprocessConfig) -> Tensor:
    """(height, width, 3) uint8 RGB to (3, height, width) float32 with mean 0 and deviation 1 over natural images."""
    pixels = torch.empty((3, *image.shape[:2]))
    pixels.copy_(torch.from_numpy(image).permute(2, 0, 1))
    mean = torch.tensor(config.mean, dtype=torch.float32).view(3, 1, 1)
    scale = (1 / torch.tensor(config.std, dtype=torch.float64)).float().view(3, 1, 1)
    return pixels.sub_(mean).mul_(scale)


def pad(pixels: Tensor, divisor: int) -> Tensor:
    """Pad (..., height, width) with zeros at the right and bottom to multiples of `divisor`."""
    height, width = pixels.shape[-2:]
    return torch.nn.functional.pad(pixels, (0, -width % divisor, 0, -height % divisor))


def fill_canvas(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Put (height, width, 3) into the top-left corner of a grey square of `side` pixels."""
    canvas = np.full((side, side, 3), GREY, np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


def augment(sample: Sample, config: AugmentConfig, random: np.random.Generator) -> Sample:
    """Flip, crop and resize at random. Objects that are cropped away wholly are removed."""
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
        size: (smallest, largest) side of the crop in pixels; a side that is too short stays whole.
        random: what to draw from.
    """
    low, high = size
    crop_height = int(random.integers(min(height, low), min(height, high) + 1))
    crop_width = int(random.integers(min(width, low), min(width, high) + 1))
    top = int(random.integers(0, height - crop_height + 1))
    left = int(random.integers(0, width - crop_width + 1))
    return top, left, crop_height, crop_width


def crop(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """Cut out a rectangle; boxes are clipped to it, and objects outside it removed (possibly all of them)."""
    rows, columns = slice(top, top + height), slice(left, left + width)
    boxes = clip(sample.boxes - np.array([left, top, left, top], np.float32), height, width)
    keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    masks = None if sample.masks is None else sample.masks[keep][:, rows, columns]
    return Sample(np.ascontiguousarray(sample.image[rows, columns]), boxes[keep], sample.labels[keep], masks)


def clip(boxes: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Clip (boxes, 4) xyxy in pixels to an image, in place."""
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
    return boxes
