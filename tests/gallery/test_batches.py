"""The pictures show what training is fed: the same images, boxes and masks as its loader gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codetr import zoo
from codetr.data.dataset.split import Split
from codetr.data.loading.loader import TrainLoader
from codetr.data.transforms.preprocess import normalise
from codetr.gallery.batches import batch_loader, batch_pictures, denormalise
from codetr.gallery.picture import GalleryPicture, reduced_mask
from codetr.zoo.recipe import Recipe


def pictures(split: Split, recipe: Recipe, limit: int, *, masks: bool = False) -> list[GalleryPicture]:
    batches = batch_loader(
        split, recipe.augment, recipe.preprocess, recipe.loader, seed=3, accumulate=1, with_masks=masks
    )
    return list(batch_pictures(split, batches, recipe.preprocess, limit, 200))


@pytest.mark.parametrize("masks", [False, True])
def test_they_are_the_batches_of_the_loader_in_order(train_split: Split, masks: bool) -> None:
    """A second pipeline that only looks like the one of training would hide its faults."""
    recipe = zoo.recipe("tiny").override(["loader.batch_size=4", "augment.mosaic={side: 64, probability: 0.5}"])
    shown = pictures(train_split, recipe, 6, masks=masks)
    loader = TrainLoader(train_split, recipe.augment, recipe.preprocess, recipe.loader, seed=3, with_masks=masks)
    fed = [
        (images.image_ids[k], target.labels.tolist(), images.canvas_size)
        for images, targets in loader.epoch(0)
        for k, target in enumerate(targets)
    ][:6]
    assert len(shown) == 6
    ids = {train_split.relative_path(i): int(train_split.image_ids[i]) for i in range(len(train_split))}
    assert [(ids[picture.name], picture.labels) for picture in shown] == [entry[:2] for entry in fed]
    assert [picture.caption.split(":")[0] for picture in shown[3:5]] == ["batch 1, 4/4", "batch 2, 1/4"]
    for picture, (_, _, (height, width)) in zip(shown, fed, strict=True):
        assert picture.image.width / picture.image.height == pytest.approx(width / height, rel=0.03)


def test_pixels_are_those_before_normalising() -> None:
    """Wrong colours would look like a fault of the augmentation."""
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    preprocess = zoo.recipe("tiny").preprocess
    assert (denormalise(normalise(image, preprocess), preprocess) == image).all()
    assert denormalise(torch.full((3, 1, 1), 1e6), preprocess).tolist() == [[[255, 255, 255]]]


def test_masks_are_no_larger_than_the_picture() -> None:
    """Hundreds of masks of a large photograph take gigabytes."""
    mask = np.zeros((1000, 3000), bool)
    mask[:, 1500:] = True
    small = reduced_mask(mask, 300)
    assert small.shape == (100, 300)
    assert not small[:, :149].any()
    assert small[:, 151:].all()
    assert reduced_mask(mask, 4000) is mask
