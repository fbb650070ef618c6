"""Small training batches, and how they are compared."""

from __future__ import annotations

import torch

from codetr.data.config import AugmentConfig, CropConfig, PreprocessConfig
from codetr.models.structures import ImageBatch, Target

AUGMENT = AugmentConfig(
    short_sides=(48, 64), long_side=96, crop=CropConfig(short_sides=(48, 64), long_side=200, size=(32, 56))
)
PREPROCESS = PreprocessConfig(short_side=64, long_side=96, pad_divisor=32)

Batch = tuple[ImageBatch, list[Target]]


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second) > 0
    for (images, targets), (other_images, other_targets) in zip(first, second, strict=True):
        assert images.image_ids == other_images.image_ids
        assert torch.equal(images.pixels, other_images.pixels)
        for target, other in zip(targets, other_targets, strict=True):
            assert torch.equal(target.boxes, other.boxes)
            assert torch.equal(target.labels, other.labels)
