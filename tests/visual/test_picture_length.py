"""The size of the picture of an image."""

from __future__ import annotations

import pytest

from codetr.visual.picture_length import picture_length


@pytest.mark.parametrize(("size", "side"), [((100, 50), 960), ((1200, 900), 1200), ((50, 5000), 1920)])
def test_pictures_of_images_have_a_readable_size(size: tuple[int, int], side: int) -> None:
    """Predictions and galleries draw the same image at one size: small ones have captions, large ones fit a screen."""
    assert picture_length(*size) == side
