"""Collate images of different sizes into one padded batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codetr.data.transforms.preprocess import ImageSizes, preprocess_image
from codetr.data.transforms.view import View
from codetr.models.structures import ImageBatch


def collate(pixels: Sequence[Tensor], sizes: Sequence[ImageSizes], image_ids: Sequence[int]) -> ImageBatch:
    """Pad images with zeros at the right and bottom to the largest height and width, and stack them.

    Args:
        pixels: per image (3, padded_height, padded_width) float32, normalised.
        sizes: per image, the sizes that `preprocess_image` returns.
        image_ids: per image, its id in the dataset.
    """
    height = max(image.shape[1] for image in pixels)
    width = max(image.shape[2] for image in pixels)
    canvas = torch.zeros((len(pixels), 3, height, width))
    for padded, image in zip(canvas, pixels, strict=True):
        padded[:, : image.shape[1], : image.shape[2]] = image
    return ImageBatch(
        canvas,
        image_sizes=[size.image for size in sizes],
        padded_sizes=[size.padded for size in sizes],
        original_sizes=[size.original for size in sizes],
        image_ids=list(image_ids),
    )


def collate_views(
    views: Sequence[View], image: Callable[[int], NDArray[np.uint8]], image_ids: Sequence[int]
) -> ImageBatch:
    """Preprocess views as at test time and collate them.

    Args:
        views: what the batch shows; its original sizes are those of the views.
        image: returns (height, width, 3) uint8 RGB of an image by its index.
        image_ids: per view, the identifier of its image in the dataset.
    """
    pixels, sizes = zip(
        *(preprocess_image(view.pixels(image(view.image)), view.preprocess) for view in views), strict=True
    )
    return collate(pixels, sizes, image_ids)
