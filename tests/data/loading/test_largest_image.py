"""The bounds of augmented images: no batch is larger than what the batch size was tried with."""

from __future__ import annotations

from typing import Any

import pytest

from codetr.data.config import Augmentation, AugmentConfig, JitterConfig, LoaderConfig, MosaicConfig, PreprocessConfig
from codetr.data.dataset.split import Split
from codetr.data.loading.largest_image import largest_image
from codetr.data.loading.loader import TrainLoader

SMALL: dict[str, Any] = {"short_sides": (48, 64), "long_side": 96}


@pytest.mark.parametrize(
    ("augmentation", "divisor"),
    [
        (AugmentConfig(**SMALL, crop=None), 1),
        (AugmentConfig(**SMALL, crop=None), 32),
        (AugmentConfig(**SMALL), 1),
        (AugmentConfig(**SMALL, crop=None, mosaic=MosaicConfig(side=40)), 1),
        (JitterConfig(canvas=64), 1),
        (JitterConfig(canvas=64, mosaic=MosaicConfig(side=40), max_pasted=3), 1),
    ],
    ids=["resized", "padded", "cropped", "mosaic", "jitter", "jitter-mosaic"],
)
def test_no_batch_exceeds_the_bounds(train_split: Split, augmentation: Augmentation, divisor: int) -> None:
    """A batch that is larger than the trial ends the run after hours, when memory runs out."""
    canvas = augmentation.canvas if isinstance(augmentation, JitterConfig) else None
    preprocess = PreprocessConfig(pad_divisor=divisor, canvas=canvas)
    bounds = largest_image(train_split, augmentation, preprocess)
    loader = TrainLoader(
        train_split,
        augmentation,
        preprocess,
        LoaderConfig(batch_size=4, workers=0),
        seed=0,
        rank=0,
        world_size=1,
        accumulate=1,
    )
    for epoch in range(2):
        for batch, targets in loader.epoch(epoch):
            height, width = batch.canvas_size
            assert height <= bounds.height
            assert width <= bounds.width
            assert all(len(target) <= bounds.objects for target in targets)
