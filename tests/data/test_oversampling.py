"""Repeat factors by hand."""

from __future__ import annotations

import math

import numpy as np

from codetr.data.dataset import Split
from codetr.data.oversampling import oversampled


class TwelveImages:
    """Class 0 in all images but one, class 1 in three of them, class 2 in one (twice), one image without objects."""

    names = ("common", "rare", "rarest")
    trained_on = (
        np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 2, 5, 8, 8, 8]),
        np.array([0] * 11 + [1, 1, 1, 2, 2]),
    )

    def __len__(self) -> int:
        return 12


def test_an_image_is_repeated_as_often_as_its_rarest_class_asks_for() -> None:
    """Objects must not count twice within an image, and factors are rounded up for each image, not for each class."""
    order = oversampled(TwelveImages(), 0.5).tolist()  # type: ignore[arg-type]
    repeats = [order.count(image) for image in range(12)]
    rare, rarest = math.ceil(math.sqrt(0.5 / (3 / 12))), math.ceil(math.sqrt(0.5 / (1 / 12)))
    assert (rare, rarest) == (2, 3)
    assert repeats == [1, 1, 2, 1, 1, 2, 1, 1, 3, 1, 1, 1]
    assert order == sorted(order)


def test_nothing_is_repeated_by_default(train_split: Split) -> None:
    assert oversampled(train_split, None).tolist() == list(range(len(train_split)))
