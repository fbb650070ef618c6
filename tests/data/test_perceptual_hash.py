"""Perceptual hashes: steady for one picture, different for different ones, and compared without comparing all."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from codetr.data.perceptual_hash import MAX_DISTANCE, NO_HASH, find_near_duplicates, perceptual_hash


def picture(seed: int, height: int = 240, width: int = 320) -> NDArray[np.uint8]:
    """Blurred noise, so that it has the large shapes that photographs have."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def distance(a: int, b: int) -> int:
    return (a ^ b).bit_count()


@pytest.mark.parametrize(("scale", "quality"), [(0.5, 90), (2, 60), (0.7, 30), (1, 20)])
def test_a_rescaled_or_compressed_copy_is_a_near_duplicate(scale: float, quality: int) -> None:
    for seed in range(5):
        image = Image.fromarray(picture(seed))
        copy = image.resize((round(image.width * scale), round(image.height * scale)))
        stream = io.BytesIO()
        copy.save(stream, "JPEG", quality=quality)
        found = perceptual_hash(np.asarray(Image.open(stream)))
        assert distance(found, perceptual_hash(picture(seed))) <= MAX_DISTANCE


def test_other_pictures_are_not() -> None:
    """In a set of thousands, a perceptual_hash with fewer independent bits would pair strangers."""
    found = [perceptual_hash(picture(seed)) for seed in range(60)]
    assert min(distance(a, b) for k, a in enumerate(found) for b in found[:k]) > MAX_DISTANCE


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_plain_images_are_like_nothing(grey: int) -> None:
    """Two black frames are no leak; their frequencies are rounding errors."""
    assert perceptual_hash(np.full((30, 40, 3), grey, np.uint8)) == NO_HASH
    assert find_near_duplicates(np.full(5, NO_HASH, np.uint64)).shape == (0, 2)


def test_pairs_are_those_that_comparing_all_finds() -> None:
    """Sharing a block of bits is necessary for being alike, not sufficient."""
    generator = np.random.default_rng(0)
    values = generator.integers(1, 2**63, 300, dtype=np.uint64)
    for k in range(200):  # neighbours of the first hundred, at distances from 0 to beyond the limit
        flipped = generator.choice(64, size=k % (MAX_DISTANCE + 3), replace=False)
        values[100 + k] = values[k // 2] ^ np.bitwise_or.reduce(np.uint64(1) << flipped.astype(np.uint64), initial=0)
    bits = np.bitwise_count(values[:, None] ^ values)
    expected = {(i, j) for i, j in np.argwhere(bits <= MAX_DISTANCE).tolist() if i < j}
    found = {(i, j) for i, j in find_near_duplicates(values).tolist()}
    assert found <= expected
    # Of equal ones each is paired with the first only, so what is alike through it is enough.
    unique, first = np.unique(values, return_index=True)
    leader = dict(zip(unique.tolist(), first.tolist(), strict=True))
    for i, j in expected:
        a, b = sorted((leader[int(values[i])], leader[int(values[j])]))
        assert a == b or (a, b) in found
