"""Views cut from an image: the pixels that the network sees are those whose coordinates the view states."""

from __future__ import annotations

import numpy as np

from codetr.data.config import PreprocessConfig
from codetr.data.transforms.view import Region, View

IMAGE = np.arange(40 * 60 * 3, dtype=np.uint32).reshape(40, 60, 3).astype(np.uint8)
WHOLE = View.whole(0, (40, 60), PreprocessConfig())


def test_a_whole_view_is_the_image() -> None:
    assert WHOLE.region.size == (40, 60)
    assert np.array_equal(WHOLE.pixels(IMAGE), IMAGE)


def test_crops_and_mirror_images_compose_as_those_of_pixels_do() -> None:
    """A tile of a mirrored image cut from the wrong side would move every detection in it."""
    tile = Region(5, 10, 35, 30)
    cropped = IMAGE[10:30, 5:35]
    assert np.array_equal(WHOLE.crop(tile).pixels(IMAGE), cropped)
    assert np.array_equal(WHOLE.crop(tile).mirror().pixels(IMAGE), cropped[:, ::-1])
    assert np.array_equal(WHOLE.mirror().crop(tile).pixels(IMAGE), IMAGE[:, ::-1][10:30, 5:35])
    nested = WHOLE.mirror().crop(tile).crop(Region(2, 3, 9, 11))
    assert np.array_equal(nested.pixels(IMAGE), IMAGE[:, ::-1][10:30, 5:35][3:11, 2:9])
    assert WHOLE.mirror().mirror() == WHOLE
