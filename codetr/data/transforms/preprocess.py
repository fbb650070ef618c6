"""Preprocessing: resize, normalise and pad an image for the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codetr.data.config import PreprocessConfig
from codetr.data.transforms.resize import rescaled_size, resize

GREY = 114
"""Padding value of canvases before normalising."""


@dataclass(frozen=True)
class ImageSizes:
    """(height, width) in pixels: of the valid part of the network input, of the padded input, and of the image file."""

    image: tuple[int, int]
    padded: tuple[int, int]
    original: tuple[int, int]


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
    """Normalise (height, width, 3) uint8 RGB to (3, height, width) float32 by the configured mean and deviation."""
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
    """Pad (height, width, 3) with grey at the right and bottom to a square of `side` pixels."""
    canvas = np.full((side, side, 3), GREY, np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas
