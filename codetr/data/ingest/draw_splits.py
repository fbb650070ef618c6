"""Dividing one annotated set into train, val and test when there is only one.

Stratified: iterative stratification of multi-label data (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011, algorithm
1), which hands out the images of the rarest class first, each to the part that lacks most of what it should have.
Ties are decided by a hash of the image's content and the seed, so the order in the file plays no role.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError
from codetr.data.ingest.image_check import CheckedImage


def partition(
    images: Sequence[CheckedImage],
    classes: Mapping[int, Collection[int]],
    fractions: Mapping[str, float],
    seed: int,
    *,
    stratify: bool,
) -> dict[str, list[CheckedImage]]:
    """Divide images into train and the parts that are named; images of identical content stay together.

    Args:
        images: all of them.
        classes: by image id, the categories of its objects.
        fractions: share of images by part; train, first in what is returned, gets the rest.
        seed: decides between equally good divisions.
        stratify: give every part its share of every class, and each class with two images or more to train and to
            another part, where that takes no other class away. Otherwise where an image goes depends on its content
            and the seed alone, so that it stays where it is when others are added.

    Raises:
        UserError: fewer different images than parts.
    """
    labels: dict[str, set[int]] = defaultdict(set)
    for image in images:
        labels[image.digest] |= set(classes.get(image.image_id, ()))
    parts = ["train", *fractions]
    if len(labels) < len(parts):
        hint = f"Give the sets that are to be drawn, or at least {len(parts)} different images."
        raise UserError(f"{len(labels)} image(s) cannot be divided into {' and '.join(parts)}", hint=hint)
    places = {digest: _place(digest, seed) for digest in labels}
    ordered = sorted(labels, key=places.__getitem__)
    shares = np.array([1 - sum(fractions.values()), *fractions.values()])
    if stratify:
        chosen = _stratified([labels[digest] for digest in ordered], shares)
    else:
        chosen = _by_place(np.array([places[digest] for digest in ordered]), shares)
    part_of = {digest: parts[part] for digest, part in zip(ordered, chosen, strict=True)}
    divided: dict[str, list[CheckedImage]] = {part: [] for part in parts}
    for image in images:
        divided[part_of[image.digest]].append(image)
    return divided


def _place(digest: str, seed: int) -> float:
    """A number in [0, 1), uniform over contents and independent between seeds."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{digest}".encode()).digest()[:8]) / 2**64


def _by_place(places: NDArray[np.float64], shares: NDArray[np.float64]) -> list[int]:
    """Part of every place, ascending: the first to part 1, the next to part 2, and so on, the rest to train (0)."""
    bounds = np.cumsum(shares[1:])
    chosen = np.searchsorted(bounds, places, side="right") + 1
    chosen[chosen == len(shares)] = 0
    # A small set may leave a part without any by chance; then the outermost image of the largest one changes sides.
    for part in range(len(shares)):
        if not (chosen == part).any():
            donors = np.flatnonzero(chosen == np.bincount(chosen).argmax())
            chosen[donors[-1 if part == 0 else 0]] = part
    return chosen.tolist()


def _stratified(labels: Sequence[Collection[int]], shares: NDArray[np.float64]) -> list[int]:
    """Part of every image, given the classes of each; a class of which there is but one image goes to train (0)."""
    columns = {label: column for column, label in enumerate(sorted(set().union(*labels)))}
    # Being an image counts as one more class: it deals with images without objects, and with the parts' sizes.
    rows = [[*(columns[label] for label in sorted(part)), len(columns)] for part in labels]
    members: list[list[int]] = [[] for _ in range(len(columns) + 1)]
    for row, has in enumerate(rows):
        for column in has:
            members[column].append(row)
    wanted = [_desired(len(found), shares) for found in members]
    left = np.array([len(found) for found in members])
    chosen = [-1] * len(rows)
    parts = range(len(shares))
    sizes = wanted[-1]
    while left.any():
        column = int(np.where(left > 0, left, len(rows) + 1).argmin())
        for row in members[column]:
            if chosen[row] >= 0:
                continue
            wish = wanted[column]
            part = max(parts, key=lambda k, wish=wish: (wish[k], sizes[k]))  # type: ignore[misc]
            chosen[row] = part
            for other in rows[row]:
                wanted[other][part] -= 1
                left[other] -= 1
    _complete(rows, members, chosen, len(shares))
    return chosen


def _desired(count: int, shares: NDArray[np.float64]) -> list[float]:
    """How many of `count` images each part should get: its share, but at least one while there are enough."""
    if count < 2:
        return [float(count), *[0.0] * (len(shares) - 1)]
    others = [max(float(share) * count, 1.0) if part < count else 0.0 for part, share in enumerate(shares[1:], 1)]
    return [max(count - sum(others), 1.0), *others]


def _complete(rows: list[list[int]], members: list[list[int]], chosen: list[int], parts: int) -> None:
    """Move single images, so that every class with enough images is in every part, where that robs no other class.

    Classes that always occur together with rarer ones may have been handed out on one side.
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
