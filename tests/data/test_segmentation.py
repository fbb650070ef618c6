"""Segmentations from outside: only what is sound reaches native code, and it decodes as pycocotools does."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from codetr.data.segmentation import (
    BadSegmentationError,
    check_segmentation,
    decode,
    encode_mask,
    mask_area,
    mask_bounding_box,
)
from codetr.data.validation.rules import encloses_nothing

MASK = np.random.default_rng(0).random((7, 5)) < 0.5


def runs(mask: np.ndarray) -> list[int]:
    """COCO's run lengths: down the columns, background first."""
    values = np.concatenate([[False], mask.ravel(order="F")])
    bounds = np.flatnonzero(values[1:] != values[:-1])
    return np.diff([0, *bounds, mask.size]).tolist()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000), st.sampled_from([0.02, 0.5, 1.0]))
def test_both_kinds_of_run_length_codes_are_accepted_and_decoded(
    height: int, width: int, seed: int, share: float
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    for counts in (code["counts"].decode(), runs(mask)):
        checked = check_segmentation({"size": [height, width], "counts": counts}, height, width, keep_empty=True)
        assert checked is not None
        assert (decode(checked.value, height, width) == mask).all()
        assert mask_area(checked.value, height, width) == mask.sum()
        assert mask_bounding_box(checked.value, height, width) == coco_mask.toBbox(code).tolist()


@pytest.mark.parametrize(
    "value",
    [
        [[2, 2] * 3],
        [[1, 1, 3, 5, 1, 1, 3, 5]],
        [[1, 1, 2, 2, 4, 4]],
        [[1, 1, 3, 5, 4, 1, 3, 5]],
        {"size": [7, 5], "counts": [35]},
        {"size": [7, 5], "counts": [20, 0, 15]},
    ],
    ids=["point", "line", "three_on_a_line", "there_and_back", "no_pixel", "empty_run"],
)
def test_what_encloses_nothing_is_no_segmentation(value: Any) -> None:
    """Masks without a pixel would be trained on, and the object lost where its box is drawn around them."""
    with pytest.raises(BadSegmentationError):
        check_segmentation(value, 7, 5)
    assert check_segmentation(value, 7, 5, keep_empty=True) is not None


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1000), st.floats(0, 6.3))
def test_paths_on_a_line_and_back_enclose_nothing(seed: int, size: float, angle: float) -> None:
    """In any direction and of any length, whatever rounding makes of the points."""
    along = np.random.default_rng(seed).uniform(0, size, 8)
    points = np.stack([100 + along * np.cos(angle), 50 + along * np.sin(angle)], axis=1)
    assert encloses_nothing(points.ravel().tolist())
    corners = [100, 50, 100 + size, 50, 100 + size, 50 + size, 100, 50 + size]
    assert not encloses_nothing(corners)
    assert not encloses_nothing([*corners[:4], *corners[6:], *corners[4:6]])  # crosses itself: its signed area is 0


@given(st.text(alphabet=[chr(code) for code in range(40, 120)], max_size=30))
def test_any_text_is_checked_before_native_code_sees_it(counts: str) -> None:
    """pycocotools reads past the end of such a string, or writes past the mask."""
    try:
        checked = check_segmentation({"size": [7, 5], "counts": counts}, 7, 5)
    except BadSegmentationError:
        return
    assert checked is not None
    assert decode(checked.value, 7, 5).shape == (7, 5)


@pytest.mark.parametrize(
    "value",
    [
        {"size": [7, 5], "counts": [10, 10]},
        {"size": [7, 5], "counts": [10, 100]},
        {"size": [7, 5], "counts": [40, -5]},
        {"size": [7, 5], "counts": [35.0]},
        {"size": [7, 5], "counts": [True] * 35},
        {"size": [7, 5], "counts": 35},
        {"size": [5, 7], "counts": [35]},
        {"size": [7, 5], "counts": "o"},
        {"size": [7, 5], "counts": "oooooooooooooooooooooooooooo0"},
        {"counts": [35]},
        {},
        "polygon",
        7,
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5]],
        [[1, 2, 3, 4, 5, "6"]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [[1, 2, 3, 4, 5, float("inf")]],
        [[1, 2, 3, 4, 5, 10**400]],
        [{"x": 1}],
    ],
)
def test_refused(value: Any) -> None:
    with pytest.raises(BadSegmentationError):
        check_segmentation(value, 7, 5)


@pytest.mark.parametrize("value", [None, [], [[]], [[], []]])
def test_no_segmentation(value: Any) -> None:
    assert check_segmentation(value, 7, 5) is None


def test_polygons() -> None:
    checked = check_segmentation([[1, 1, 4, 1, 4, 5, 1, 5], [2, 2]], 7, 5)
    assert checked is not None
    assert checked.value == [[1, 1, 4, 1, 4, 5, 1, 5]]
    assert checked.dropped_parts == 1
    assert not checked.exceeds_image
    assert mask_area(checked.value, 7, 5) == 12
    assert mask_bounding_box(checked.value, 7, 5) == [1, 1, 3, 4]
    outside = check_segmentation([[-20, 0, 50, 0, 50, 60, -20, 60]], 7, 5)
    assert outside is not None
    assert outside.exceeds_image
    assert decode(outside.value, 7, 5).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000), st.sampled_from([0.0, 0.02, 0.5, 1.0]))
def test_masks_survive_being_written_as_json(height: int, width: int, seed: int, share: float) -> None:
    """Of any shape, also empty ones: a detection may have a mask without a pixel."""
    mask = np.random.default_rng(seed).random((height, width)) < share
    code = json.loads(json.dumps(encode_mask(mask)))
    checked = check_segmentation(code, height, width, keep_empty=True)
    assert checked is not None
    assert (decode(checked.value, height, width) == mask).all()
