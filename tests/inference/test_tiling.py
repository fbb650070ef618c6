"""Tiled inference: tiles cover the image, cut objects are not counted twice, and coordinates are those of the image."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import codetr
from codetr.core.errors import UserError
from codetr.inference.tiling import tile_regions
from codetr.models.structures import Detections
from tests.support.models.finder import Finder, scene
from tests.support.models.small_models import masked, write_model


class ShortSighted(Finder):
    """A finder that misses objects smaller than a fifth of its input, which is why tiles exist."""

    def find(self, red: NDArray[np.float32], size: tuple[int, int]) -> Detections:
        found = super().find(red, size)
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]).amax(dim=1)
        return found[sides >= max(size) / 5]


@settings(deadline=None, max_examples=50)
@given(
    height=st.integers(1, 900),
    width=st.integers(1, 900),
    size=st.integers(20, 300),
    overlap=st.floats(0, 0.9, allow_nan=False),
)
def test_tiles_cover_the_image_and_overlap(height: int, width: int, size: int, overlap: float) -> None:
    """Objects in a gap between tiles are missed; with too little overlap they are cut in both neighbours."""
    tiles = tile_regions(height, width, size, overlap)
    if height <= size and width <= size:
        assert tiles == []
        return
    for lows, highs, length in (
        ({(tile.left, tile.right) for tile in tiles}, width, width),
        ({(tile.top, tile.bottom) for tile in tiles}, height, height),
    ):
        spans = sorted(lows)
        assert spans[0][0] == 0
        assert spans[-1][1] == length == highs
        assert all(end - start == min(size, length) for start, end in spans)
        for (_, end), (start, _) in itertools.pairwise(spans):
            assert end - start >= int(size * overlap) - 1


def test_an_image_that_fits_into_a_tile_is_not_cut(tmp_path: Path) -> None:
    model = codetr.load(write_model(tmp_path / "model", **masked()), device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (50, 80, 3), dtype=np.uint8)
    plain, tiled = (one.predict(image, threshold=0) for one in (model, codetr.TiledInference(model, tile=80)))
    assert np.array_equal(plain.boxes, tiled.boxes)
    assert np.array_equal(plain.scores, tiled.scores)
    assert plain.masks is not None
    assert tiled.masks is not None
    assert np.array_equal(plain.masks, tiled.masks)


def test_small_objects_are_found_in_tiles_and_large_ones_in_the_whole() -> None:
    """Each is detected once, wherever borders of tiles cut it."""
    boxes = (
        (10, 10, 40, 40),  # in the first tile
        (85, 20, 115, 50),  # across the border at 100
        (85, 85, 112, 112),  # across both
        (20, 130, 290, 290),  # larger than a tile
        (270, 70, 300, 100),  # at the border of the image, where nothing is cut
    )
    image = scene(300, 300, *boxes)
    assert len(ShortSighted().predict(image)) == 1
    result = codetr.TiledInference(ShortSighted(), tile=100, overlap=0.4).predict(image)
    assert sorted(map(tuple, result.boxes.tolist())) == sorted(boxes)
    assert result.masks is not None
    expected = Finder().predict(image)
    assert expected.masks is not None
    for k, box in enumerate(expected.boxes.tolist()):
        assert np.array_equal(result.masks[result.boxes.tolist().index(box)], expected.masks[k])


def test_parts_of_an_object_are_dropped() -> None:
    """A long object crosses five tiles, and only the whole image shows all of it."""
    image = scene(120, 500, (5, 50, 495, 70))
    result = codetr.TiledInference(Finder(), tile=120, overlap=0.2).predict(image)
    assert result.boxes.tolist() == [[5, 50, 495, 70]]


def test_tiles_are_detected_in_batches() -> None:
    finder = Finder()
    image = scene(100, 300, (10, 10, 40, 40), (150, 60, 170, 80))
    result = codetr.TiledInference(finder, tile=100, overlap=0, batch_size=2).predict(image)
    assert [batch.original_sizes for batch in finder.seen] == [[(100, 300)], [(100, 100)] * 2, [(100, 100)]]
    assert result.boxes.tolist() == [[10, 10, 40, 40], [150, 60, 170, 80]]


def test_tiles_of_several_images_are_not_mixed_up() -> None:
    images = [scene(50, 50, (5, 5, 25, 25)), scene(100, 200, (120, 20, 150, 50))]
    results = codetr.TiledInference(ShortSighted(), tile=100).predict(images, batch_size=2)
    assert [result.boxes.tolist() for result in results] == [[[5, 5, 25, 25]], [[120, 20, 150, 50]]]


@pytest.mark.parametrize(("arguments", "said"), [({"tile": 2}, "size"), ({"tile": 64, "overlap": 1.0}, "overlap")])
def test_invalid_tiles_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"tiles: {said}"):
        codetr.TiledInference(Finder(), **arguments)
