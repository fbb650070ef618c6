"""Find images that occur more than once: equal files and near duplicates, within a split and across splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.data.perceptual_hash import find_near_duplicates


@dataclass(frozen=True)
class Pair:
    """Two equal or similar images; the finding is about the second one.

    Attributes:
        first: (split, position) of the earlier one.
        second: (split, position) of the later one.
    """

    first: tuple[str, int]
    second: tuple[str, int]


@dataclass(frozen=True)
class Repetitions:
    """Images that occur more than once. Each is listed once by kind, with the first image it repeats.

    Attributes:
        shared: the same file under several ids in a split.
        repeated: different files of equal content in a split.
        similar: near duplicates in a split.
        leaked: files whose content is also in an earlier split.
        nearly_leaked: near duplicates of an image of an earlier split.
    """

    shared: list[Pair]
    repeated: list[Pair]
    similar: list[Pair]
    leaked: list[Pair]
    nearly_leaked: list[Pair]


def find_repetitions(splits: Mapping[str, Mapping[str, NDArray[Any]]]) -> Repetitions:
    """Compare the images of all splits by digest and by perceptual hash.

    Args:
        splits: arrays of an index, by split.
    """
    found = Repetitions([], [], [], [], [])
    if not splits:
        return found
    names = list(splits)
    lengths = [len(arrays["image_ids"]) for arrays in splits.values()]
    split_of = np.repeat(np.arange(len(names)), lengths)
    position = np.concatenate([np.arange(length) for length in lengths])
    digests = np.concatenate([np.asarray(arrays["digests"]).reshape(-1, 32) for arrays in splits.values()])
    content = np.unique(np.ascontiguousarray(digests).view("V32").ravel(), return_inverse=True)[1]

    def add(pairs: list[Pair], first: int, second: int) -> None:
        pairs.append(Pair(*((names[split_of[i]], int(position[i])) for i in (first, second))))

    for group in _groups(content):
        leaders: dict[int, int] = {}
        for i in group:
            split = int(split_of[i])
            if split in leaders:
                paths = {_path(splits[names[split]], int(position[k])) for k in (leaders[split], i)}
                add(found.shared if len(paths) == 1 else found.repeated, leaders[split], i)
                continue
            if leaders:
                add(found.leaked, next(iter(leaders.values())), i)
            leaders[split] = i

    similar = find_near_duplicates(
        np.concatenate([np.asarray(arrays["perceptual_hashes"]) for arrays in splits.values()])
    )
    similar = similar[content[similar[:, 0]] != content[similar[:, 1]]]
    within = split_of[similar[:, 0]] == split_of[similar[:, 1]]
    for pairs, chosen in ((found.similar, similar[within]), (found.nearly_leaked, similar[~within])):
        _, earliest = np.unique(chosen[:, 1], return_index=True)
        for first, second in chosen[earliest].tolist():
            add(pairs, first, second)
    return found


def _groups(values: NDArray[np.int64]) -> Sequence[list[int]]:
    """Return the positions of equal values, for every value that occurs more than once."""
    order = np.argsort(values, kind="stable")
    edges = np.flatnonzero(np.diff(values[order], prepend=-1, append=-1))
    return [order[start:stop].tolist() for start, stop in pairwise(edges) if stop - start > 1]


def _path(arrays: Mapping[str, NDArray[Any]], position: int) -> bytes:
    start, stop = arrays["path_offsets"][position : position + 2]
    return arrays["paths"][start:stop].tobytes()
