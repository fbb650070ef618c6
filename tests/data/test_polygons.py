"""Polygons around masks: filled, they are the masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from codetr.data.polygons import mask_polygon
from codetr.data.segmentation import decode


def filled(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return decode([polygon.ravel().tolist()], *shape)


def touch_by_a_corner(mask: np.ndarray) -> bool:
    """Whether two pixels have a corner but no side in common."""
    a, b, c, d = mask[:-1, :-1], mask[:-1, 1:], mask[1:, :-1], mask[1:, 1:]
    return bool(((a == d) & (b == c) & (a != b)).any())


@settings(max_examples=40, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 4))), st.integers(1, 4))
def test_the_polygon_of_any_mask_fills_to_the_mask(coarse: np.ndarray, scale: int) -> None:
    """Parts, holes and masks at the border of the image."""
    assume(not touch_by_a_corner(coarse))
    mask = np.kron(coarse, np.ones((scale, scale), bool)).astype(bool)
    polygon = mask_polygon(mask)
    assert len(polygon) >= 4 * mask.any()
    if mask.any():
        assert (filled(polygon, mask.shape) == mask).all()


@pytest.mark.parametrize("hole", [False, True])
def test_a_disc_and_a_ring(hole: bool) -> None:
    y, x = np.mgrid[:80, :90]
    distance = (x - 40) ** 2 + (y - 35) ** 2
    mask = (distance < 30**2) & ((distance > 12**2) | (not hole))
    assert (filled(mask_polygon(mask), mask.shape) == mask).all()


def test_straight_sides_have_no_points_between_their_ends() -> None:
    """Files with a point for every pixel of a border are large."""
    assert len(mask_polygon(np.ones((50, 70), bool))) == 8
