"""Images that occur more than once: the same bytes, or the same picture, within a split and across splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.data.perceptual_hash import find_alike


@dataclass(frozen=True)
class Pair:
    """Two images that belong together; the second is the one that a finding is about.

    Attributes:
        first: (split, position) of the earlier one.
        second: (split, position) of the later one.
    """

    first: tuple[str, int]
    second: tuple[str, int]


@dataclass(frozen=True)
class Repetitions:
    """Images that occur more than once; each is listed once a kind, with the first it repeats.

    Attributes:
        shared: one file under several ids in a split.
        repeated: files of identical content in a split.
        alike: images of a split that look the same.
        leaked: content that is in an earlier split, too.
        nearly_leaked: images that look like one of an earlier split.
    """

    shared: list[Pair]
    repeated: list[Pair]
    alike: list[Pair]
    leaked: list[Pair]
    nearly_leaked: list[Pair]


def find_repetitions(splits: Mapping[str, Mapping[str, NDArray[Any]]]) -> Repetitions:
    """Compare the images of all splits by digest and by fingerprint.

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
        places = ((names[split_of[i]], int(position[i])) for i in (first, second))
        pairs.append(Pair(*places))

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

    alike = find_alike(np.concatenate([np.asarray(arrays["fingerprints"]) for arrays in splits.values()]))
    alike = alike[content[alike[:, 0]] != content[alike[:, 1]]]
    within = split_of[alike[:, 0]] == split_of[alike[:, 1]]
    for pairs, chosen in ((found.alike, alike[within]), (found.nearly_leaked, alike[~within])):
        _, earliest = np.unique(chosen[:, 1], return_index=True)
        for first, second in chosen[earliest].tolist():
            add(pairs, first, second)
    return found


def _groups(values: NDArray[np.int64]) -> Sequence[list[int]]:
    """Positions of equal values, for every value that occurs more than once."""
    order = np.argsort(values, kind="stable")
    edges = np.flatnonzero(np.diff(values[order], prepend=-1, append=-1))
    return [order[start:stop].tolist() for start, stop in pairwise(edges) if stop - start > 1]


def _path(arrays: Mapping[str, NDArray[Any]], position: int) -> bytes:
    start, stop = arrays["path_offsets"][position : position + 2]
    return arrays["paths"][start:stop].tobytes()
