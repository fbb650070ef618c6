"""Boxes in another format than xywh in pixels: recognised and converted; sound boxes are never taken for others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from codetr.data.box_format import from_xywh, recognise_box_format, to_xywh
from codetr.data.config import BOX_FORMATS, BoxFormat

SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int, count: int = 40) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Objects anywhere in images of different sizes: (n, 4) boxes_xywh and (n, 2) sizes."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(100, 2000, (count, 2)).astype(float)
    corners = np.sort(generator.uniform(0, 1, (count, 2, 2)), axis=1)
    first, second = corners[:, 0] * sizes, (corners[:, 1] * sizes).clip(corners[:, 0] * sizes + 2)
    return np.concatenate([first, second - first], axis=1), sizes


@pytest.mark.parametrize("box_format", [name for name in BOX_FORMATS if name != "cxcywh"])
@given(SEEDS)
def test_a_format_is_recognised_and_converted(box_format: BoxFormat, seed: int) -> None:
    """`doctor --fix` removed every annotation of such a file, and plain `doctor` showed no error."""
    boxes, sizes = draw(seed)
    given_boxes = from_xywh(boxes, sizes, box_format)
    assert recognise_box_format(given_boxes, sizes) == box_format
    np.testing.assert_allclose(to_xywh(given_boxes, sizes, box_format), boxes, atol=1e-9)


@pytest.mark.parametrize("assumed", [name for name in BOX_FORMATS if name not in ("xywh", "cxcywh")])
@given(SEEDS)
def test_plain_boxes_are_recognised_whatever_is_assumed(assumed: BoxFormat, seed: int) -> None:
    """With `--boxes xyxy` for a sound file, most boxes were dropped, and the rest were wrong."""
    boxes, sizes = draw(seed)
    assert recognise_box_format(boxes, sizes, assumed) == "xywh"


@pytest.mark.parametrize("assumed", BOX_FORMATS)
@given(SEEDS)
def test_what_is_assumed_rightly_stays(assumed: BoxFormat, seed: int) -> None:
    """A setting that is right must not be refused."""
    boxes, sizes = draw(seed)
    assert recognise_box_format(from_xywh(boxes, sizes, assumed), sizes, assumed) == assumed


def test_shares_beyond_the_border_are_no_pixels() -> None:
    """Labels of YOLO that exceed their image would be refused as boxes of less than a pixel."""
    shares = np.array([[-0.1, 0.5, 0.3, 0.4], [0.5, 0.5, 0.3, 0.4]] * 5)
    sizes = np.tile([[80.0, 60.0]], (10, 1))
    assert recognise_box_format(shares, sizes, "relative_cxcywh") == "relative_cxcywh"


def test_centres_in_pixels_are_recognised_where_they_exceed_the_image() -> None:
    """Other centres are valid as corners, too: a dataset of small objects cannot show the difference."""
    sizes = np.full((3, 2), 100.0)
    boxes = np.array([[60.0, 10, 40, 80], [0, 0, 100, 30], [5, 40, 90, 60]])
    assert recognise_box_format(from_xywh(boxes, sizes, "cxcywh"), sizes) == "cxcywh"


@given(SEEDS, st.floats(0, 0.09))
def test_some_wrong_boxes_are_no_other_format(seed: int, share: float) -> None:
    """A few boxes beyond the border are errors by themselves."""
    boxes, sizes = draw(seed)
    wrong = np.random.default_rng(seed).random(len(boxes)) < share
    boxes[wrong, 2:] *= 3
    if wrong.mean() < 0.1:
        assert recognise_box_format(boxes, sizes) == "xywh"


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [[0, 0, 1, 1]],
        [[float("nan")] * 4, [float("inf")] * 4],
        [[5, 5, 100, 100]] * 9,
        [[0, 0, 100, 100]] * 9,
        [[0, 0, 0, 0]] * 9,
        [[90, 90, 50, 50]] * 9,
    ],
    ids=["none", "one", "not_finite", "slightly_beyond", "whole_image", "empty", "far_beyond"],
)
def test_doubtful_boxes_stay_as_they_are(boxes: list[list[float]]) -> None:
    array = np.array(boxes, float).reshape(-1, 4)
    assert recognise_box_format(array, np.full((len(array), 2), 100.0)) == "xywh"
