"""Images of different sizes become one padded batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from codetr.data.transforms.preprocess import ImageSizes
from codetr.models.structures import ImageBatch


def collate(pixels: Sequence[Tensor], sizes: Sequence[ImageSizes], image_ids: Sequence[int]) -> ImageBatch:
    """Put images into the top-left corners of one canvas of zeros, as large as the largest of them.

    Args:
        pixels: per image (3, padded_height, padded_width) float32, normalised.
        sizes: per image, what `preprocess_image` says about it.
        image_ids: per image, its identifier in the dataset.
    """
    height = max(image.shape[1] for image in pixels)
    width = max(image.shape[2] for image in pixels)
    canvas = torch.zeros((len(pixels), 3, height, width))
    for place, image in zip(canvas, pixels, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return ImageBatch(
        canvas,
        image_sizes=[size.image for size in sizes],
        padded_sizes=[size.padded for size in sizes],
        original_sizes=[size.original for size in sizes],
        image_ids=list(image_ids),
    )
