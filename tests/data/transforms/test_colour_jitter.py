"""Colour jitter: torchvision's pixels, drawn from the generator it is given and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.v2 import functional

from codetr.data.config import ColourConfig
from codetr.data.transforms.colour_jitter import jitter_colour, shift_hue

OFF = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def picture() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (24, 31, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "adjust"),
    [
        ("brightness", functional.adjust_brightness),
        ("contrast", functional.adjust_contrast),
        ("saturation", functional.adjust_saturation),
    ],
)
def test_each_change_is_torchvisions(name: str, adjust: Callable[..., Any]) -> None:
    """Strengths that people carry over from other programs would mean something else here."""
    config = ColourConfig(**OFF | {name: 0.6}, probability=1)
    for seed in range(5):
        random = np.random.default_rng(seed)
        random.random()
        factor = [random.uniform(1 - strength, 1 + strength) for strength in _strengths(config)][list(OFF).index(name)]
        expected = np.asarray(adjust(Image.fromarray(picture()), factor))
        np.testing.assert_array_equal(jitter_colour(picture(), config, np.random.default_rng(seed)), expected)
        assert (expected != picture()).any()


def _strengths(config: ColourConfig) -> list[float]:
    return [config.brightness, config.contrast, config.saturation]


@pytest.mark.parametrize("shift", [-0.5, -0.31, -0.004, 0.0, 0.013, 0.2, 0.5])
def test_hue_is_turned_as_torchvision_does(shift: float) -> None:
    expected = functional.adjust_hue(Image.fromarray(picture()), shift)
    np.testing.assert_array_equal(np.asarray(shift_hue(Image.fromarray(picture()), shift)), np.asarray(expected))


def test_nothing_changes_where_nothing_is_to_change() -> None:
    """A round trip through hue and saturation rounds colours, which a strength of zero must not."""
    np.testing.assert_array_equal(
        jitter_colour(picture(), ColourConfig(**OFF, probability=1), np.random.default_rng(0)), picture()
    )


def test_the_order_and_every_strength_vary() -> None:
    config = ColourConfig(probability=1, brightness=0.5, contrast=0.5, saturation=0.5, hue=0.1)
    results = {jitter_colour(picture(), config, np.random.default_rng(seed)).tobytes() for seed in range(30)}
    assert len(results) == 30


def test_the_share_of_changed_images_is_the_probability_and_draws_do_not_depend_on_it() -> None:
    """Another probability would change what is drawn afterwards for the same image."""
    changed = 0
    for seed in range(200):
        generators = [np.random.default_rng(seed) for _ in range(3)]
        results = [
            jitter_colour(picture(), ColourConfig(probability=share), random)
            for share, random in zip((0, 0.25, 1), generators, strict=True)
        ]
        np.testing.assert_array_equal(results[0], picture())
        changed += bool((results[1] != picture()).any())
        assert len({random.random() for random in generators}) == 1
    assert 30 < changed < 70
