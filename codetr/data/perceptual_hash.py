"""Perceptual hashes: 64 bits of an image that hardly change when it is rescaled or compressed again.

The signs of the 64 lowest frequencies of a discrete cosine transform, the constant one left out (Zauner,
"Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1, whose median of the
coefficients is a zero here). Two images look the same when their hashes differ in few bits.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_DISTANCE = 6
"""Bits in which the hashes of one picture may differ after rescaling or compression."""

NO_HASH = 0
"""The hash of an image without enough contrast to distinguish it from another; it equals no other image."""

_SIDE, _BITS = 32, 64
_LEAST_CONTRAST = 4.0
"""Standard deviation in grey levels."""
_BLOCKS = MAX_DISTANCE + 1


def _lowest_frequencies() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    rows, columns = np.divmod(np.arange(_SIDE * _SIDE), _SIDE)
    order = np.argsort(rows**2 + columns**2, kind="stable")[1 : _BITS + 1]
    return rows[order], columns[order]


_COSINES = np.cos(np.pi / _SIDE * np.outer(np.arange(_SIDE), np.arange(_SIDE) + 0.5))
_FREQUENCIES = _lowest_frequencies()


def perceptual_hash(image: NDArray[np.uint8]) -> int:
    """Return the perceptual hash of an image.

    Args:
        image: (height, width, 3) RGB.

    Returns:
        64 bits; `NO_HASH` for an image of nearly uniform grey.
    """
    grey = Image.fromarray(image).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    values = np.asarray(grey, np.float64)
    if values.std() < _LEAST_CONTRAST:
        return NO_HASH
    coefficients = _COSINES @ values @ _COSINES.T
    return int.from_bytes(np.packbits(coefficients[_FREQUENCIES] > 0).tobytes())


def find_near_duplicates(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return pairs of images whose perceptual hashes differ in at most `MAX_DISTANCE` bits.

    Two such hashes agree in at least one of `MAX_DISTANCE` + 1 blocks of bits, so only those that share a block
    are compared: for 100,000 images a few million comparisons.

    Args:
        hashes: (images,) uint64.

    Returns:
        (pairs, 2) positions, the smaller one first, in ascending order. Images with equal hashes
        are each paired with the first of them only.
    """
    unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    repeated = np.flatnonzero((first[inverse] != np.arange(len(hashes))) & (hashes != NO_HASH))
    pairs = [np.stack([first[inverse[repeated]], repeated], axis=1)]
    known = unique != NO_HASH
    unique, first = unique[known], first[known]
    edges = np.linspace(0, _BITS, _BLOCKS + 1).astype(int)
    for start, stop in pairwise(edges):
        block = (unique >> np.uint64(start)) & np.uint64((1 << int(stop - start)) - 1)
        order = np.argsort(block, kind="stable")
        pairs.extend(first[found] for found in _similar_neighbours(unique[order], block[order], order))
    ordered = np.sort(np.concatenate(pairs), axis=1)
    return np.unique(ordered, axis=0).astype(np.int64)


def _similar_neighbours(
    values: NDArray[np.uint64], block: NDArray[np.uint64], order: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Return pairs within runs of one block value: every value is compared with the ones after it, lag by lag."""
    found = []
    left = np.arange(len(values) - 1)
    lag = 1
    while len(left):
        left = left[left + lag < len(values)]
        left = left[block[left] == block[left + lag]]
        near = left[np.bitwise_count(values[left] ^ values[left + lag]) <= MAX_DISTANCE]
        found.append(np.stack([order[near], order[near + lag]], axis=1))
        lag += 1
    return found
