"""Draw train, val and test from a single annotated set.

Stratified: iterative stratification of multi-label data (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011, algorithm
1), which assigns the images of the rarest class first, each to the split that is furthest from its desired number.
Ties are broken by a hash of the image's content and the seed, so the order in the file has no effect.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError
from codetr.data.ingest.image_check import CheckedImage


def draw_splits(
    images: Sequence[CheckedImage],
    classes: Mapping[int, Collection[int]],
    fractions: Mapping[str, float],
    seed: int,
    *,
    stratify: bool,
    where: str | None = None,
) -> dict[str, list[CheckedImage]]:
    """Divide images into train and the given splits; images of identical content stay together.

    Args:
        images: all images.
        classes: by image id, the categories of its objects.
        fractions: share of images by split; train, the first one returned, gets the rest.
        seed: decides between equally good divisions.
        stratify: give every split its share of every class, and each class with two images or more to train and to
            another split, where that removes no other class. Otherwise the split of an image depends on its content
            and the seed alone, so it does not change when other images are added.
        where: the annotation files, for error messages.

    Raises:
        UserError: fewer different images than splits.
    """
    labels: dict[str, set[int]] = defaultdict(set)
    for image in images:
        labels[image.digest] |= set(classes.get(image.image_id, ()))
    parts = ["train", *fractions]
    if len(labels) < len(parts):
        hint = f"Give annotations for every split, or at least {len(parts)} different images."
        problem = f"{len(labels)} image(s) cannot be divided into {' and '.join(parts)}"
        raise UserError(problem, where=where, hint=hint)
    hashes = {digest: _split_hash(digest, seed) for digest in labels}
    ordered = sorted(labels, key=hashes.__getitem__)
    shares = np.array([1 - sum(fractions.values()), *fractions.values()])
    if stratify:
        chosen = _stratified([labels[digest] for digest in ordered], shares)
    else:
        chosen = _by_hash(np.array([hashes[digest] for digest in ordered]), shares)
    part_of = {digest: parts[part] for digest, part in zip(ordered, chosen, strict=True)}
    divided: dict[str, list[CheckedImage]] = {part: [] for part in parts}
    for image in images:
        divided[part_of[image.digest]].append(image)
    return divided


def _split_hash(digest: str, seed: int) -> float:
    """Return a number in [0, 1), uniform over contents and independent between seeds."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{digest}".encode()).digest()[:8]) / 2**64


def _by_hash(hashes: NDArray[np.float64], shares: NDArray[np.float64]) -> list[int]:
    """Return the part of every ascending split hash: the lowest go to part 1, the next to part 2, the rest to 0."""
    bounds = np.cumsum(shares[1:])
    chosen = np.searchsorted(bounds, hashes, side="right") + 1
    chosen[chosen == len(shares)] = 0
    # In a small set a part may be empty by chance; then it gets the outermost image of the largest part.
    for part in range(len(shares)):
        if not (chosen == part).any():
            donors = np.flatnonzero(chosen == np.bincount(chosen).argmax())
            chosen[donors[-1 if part == 0 else 0]] = part
    return [int(part) for part in chosen]


def _stratified(labels: Sequence[Collection[int]], shares: NDArray[np.float64]) -> list[int]:
    """Return the part of every image, given its classes; the only image of a class goes to train (0)."""
    columns = {label: column for column, label in enumerate(sorted(set().union(*labels)))}
    # Every image has one more class: it covers images without objects, and the sizes of the parts.
    rows = [[*(columns[label] for label in sorted(part)), len(columns)] for part in labels]
    members: list[list[int]] = [[] for _ in range(len(columns) + 1)]
    for row, has in enumerate(rows):
        for column in has:
            members[column].append(row)
    desired = [_desired_counts(len(found), shares) for found in members]
    left = np.array([len(found) for found in members])
    chosen = [-1] * len(rows)
    parts = range(len(shares))
    sizes = desired[-1]
    while left.any():
        column = int(np.where(left > 0, left, len(rows) + 1).argmin())
        for row in members[column]:
            if chosen[row] >= 0:
                continue
            missing = desired[column]
            part = max(parts, key=lambda k, missing=missing: (missing[k], sizes[k]))  # type: ignore[misc]
            chosen[row] = part
            for other in rows[row]:
                desired[other][part] -= 1
                left[other] -= 1
    _complete(rows, members, chosen, len(shares))
    return chosen


def _desired_counts(count: int, shares: NDArray[np.float64]) -> list[float]:
    """Return how many of `count` images each part should get: its share, but at least one if there are enough."""
    if count < 2:
        return [float(count), *[0.0] * (len(shares) - 1)]
    others = [max(float(share) * count, 1.0) if part < count else 0.0 for part, share in enumerate(shares[1:], 1)]
    return [max(count - sum(others), 1.0), *others]


def _complete(rows: list[list[int]], members: list[list[int]], chosen: list[int], parts: int) -> None:
    """Move single images so that every class with enough images is in every part, where no other class loses its last.

    Classes that always occur together with rarer ones may all have been assigned to one part.
    """
    counts = np.zeros((len(members), parts), int)
    for row, part in enumerate(chosen):
        counts[rows[row], part] += 1
    for column in sorted(range(len(members)), key=lambda c: len(members[c])):
        last = column == len(members) - 1
        for part in range(min(parts, len(members[column]))):
            if counts[column, part]:
                continue
            movable = [
                row
                for row in members[column]
                if counts[column, chosen[row]] > 1
                and (last or all(counts[other, chosen[row]] > 1 for other in rows[row]))
            ]
            if movable:
                row = min(movable, key=lambda r: len(rows[r]))
                counts[rows[row], chosen[row]] -= 1
                counts[rows[row], part] += 1
                chosen[row] = part
