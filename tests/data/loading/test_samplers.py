"""Which images an epoch takes: repeat factors by hand, and classes in equal shares."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codetr.core.errors import UserError
from codetr.data.config import ClassBalancedConfig, LoaderConfig, RepeatFactorConfig, Sampling, ShuffleConfig
from codetr.data.loading.samplers import build_sampler, images_per_class, repeat_factor_images


class TwelveImages:
    """Class 0 in all images but one, class 1 in three of them, class 2 in one (twice), one image without objects.

    No image has objects of class 3.
    """

    dataset, name = Path("dataset"), "train"
    names = ("common", "rare", "rarest", "absent")
    trainable_objects = (
        np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 2, 5, 8, 8, 8]),
        np.array([0] * 11 + [1, 1, 1, 2, 2]),
    )

    def __len__(self) -> int:
        return 12


SPLIT: Any = TwelveImages()


def test_an_image_is_repeated_as_often_as_its_rarest_class_requires() -> None:
    """Objects must not count twice within an image, and factors are rounded up for each image, not for each class."""
    order = repeat_factor_images(SPLIT, 0.5).tolist()
    repeats = [order.count(image) for image in range(12)]
    rare, rarest = math.ceil(math.sqrt(0.5 / (3 / 12))), math.ceil(math.sqrt(0.5 / (1 / 12)))
    assert (rare, rarest) == (2, 3)
    assert repeats == [1, 1, 2, 1, 1, 2, 1, 1, 3, 1, 1, 1]
    assert order == sorted(order)


@pytest.mark.parametrize("epoch", [0, 5])
def test_every_image_comes_once_by_default(epoch: int) -> None:
    sampler = build_sampler(SPLIT, LoaderConfig().sampling, seed=0)
    assert sampler.epoch(epoch).tolist() == list(range(12))


@pytest.mark.parametrize("epoch", range(4))
def test_classes_share_an_epoch_equally(epoch: int) -> None:
    """A class would be seen more often because it has more images, or more objects in one."""
    sampler = build_sampler(SPLIT, ClassBalancedConfig(), seed=3)
    order = sampler.epoch(epoch).tolist()
    assert len(order) == len(sampler) == 12
    common, rare, rarest = order[:4], order[4:8], order[8:]
    assert len(set(common)) == 4, "no image of a class twice before all have come"
    assert sorted(set(rare)) == [2, 5, 8]
    assert max(rare.count(image) for image in (2, 5, 8)) == 2
    assert rarest == [8] * 4
    assert 11 not in order, "an image without objects belongs to no class"


def test_what_does_not_divide_goes_to_other_classes_in_other_epochs() -> None:
    """With fewer positions than classes some classes would never be seen."""

    class TwoImages(TwelveImages):
        trainable_objects = (np.array([0, 0, 1]), np.array([0, 1, 2]))

        def __len__(self) -> int:
            return 2

    split: Any = TwoImages()
    sampler = build_sampler(split, ClassBalancedConfig(), seed=0)
    last = [int((sampler.epoch(epoch) == 1).sum()) for epoch in range(300)]
    assert set(last) == {0, 1}
    assert np.mean(last) == pytest.approx(2 / 3, abs=0.08)


def test_every_image_of_a_class_is_as_likely_as_the_others() -> None:
    sampler = build_sampler(SPLIT, ClassBalancedConfig(), seed=1)
    common = np.concatenate([sampler.epoch(epoch)[:4] for epoch in range(2200)])
    counts = np.bincount(common, minlength=11)
    np.testing.assert_allclose(counts, 800, atol=4 * math.sqrt(800))


def test_an_epoch_is_a_function_of_seed_and_epoch() -> None:
    """Ranks and loader processes each work it out for themselves, and so does a resumed run."""
    first, again, other = (build_sampler(SPLIT, ClassBalancedConfig(), seed=seed) for seed in (1, 1, 2))
    later = first.epoch(7)
    first.epoch(2)
    np.testing.assert_array_equal(later, first.epoch(7))
    np.testing.assert_array_equal(later, again.epoch(7))
    assert (later != first.epoch(8)).any()
    assert (later != other.epoch(7)).any()


def test_without_objects_there_is_nothing_to_balance() -> None:
    class Empty(TwelveImages):
        trainable_objects = (np.empty(0, np.int64), np.empty(0, np.int64))

    split: Any = Empty()
    with pytest.raises(UserError, match=r"split 'train' of dataset: has no objects to train on"):
        build_sampler(split, ClassBalancedConfig(), seed=0)
    for config in (ShuffleConfig(), RepeatFactorConfig()):
        assert build_sampler(split, config, seed=0).epoch(0).tolist() == list(range(12))


def test_images_of_a_class_are_counted_not_its_objects() -> None:
    assert images_per_class(SPLIT).tolist() == [11, 3, 1, 0]


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("{kind: class_balanced}", ClassBalancedConfig()),
        ("{kind: repeat_factor}", RepeatFactorConfig(threshold=0.001)),
        ("{kind: repeat_factor, threshold: 0.01}", RepeatFactorConfig(threshold=0.01)),
        ("{kind: shuffle}", ShuffleConfig()),
    ],
    ids=["balanced", "repeated", "threshold", "shuffled"],
)
@pytest.mark.parametrize("before", [ShuffleConfig(), RepeatFactorConfig()], ids=lambda config: config.kind)
def test_one_setting_chooses_the_kind_whatever_the_recipe_has(
    before: Sampling, assignment: str, expected: object
) -> None:
    assert LoaderConfig(sampling=before).override([f"sampling={assignment}"]).sampling == expected


def test_the_error_for_a_wrong_kind_lists_the_right_ones() -> None:
    with pytest.raises(UserError, match="'shuffle', 'repeat_factor', 'class_balanced'"):
        LoaderConfig().override(["sampling.kind=balanced"])
