"""Dividing one annotated set into train and val when no val is given."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from codetr.data.check import CheckedImage
from codetr.errors import UserError


def partition(
    images: Sequence[CheckedImage], fraction: float, seed: int
) -> tuple[list[CheckedImage], list[CheckedImage]]:
    """Divide images into (train, val), about `fraction` of them into val.

    Where an image goes depends on its content and the seed alone: images of identical content stay together, and an
    image stays where it is when others are added later, so that nothing trained on turns up in val.

    Raises:
        UserError: fewer than two different images.
    """
    places = {image.digest: _place(image.digest, seed) for image in images}
    if len(places) < 2:
        hint = "Give a val set, or at least two different images."
        raise UserError(f"{len(places)} image(s) cannot be divided into train and val", hint=hint)
    in_val = {digest for digest, place in places.items() if place < fraction}
    # A small set may end up all on one side by chance; then its outermost image changes sides.
    if not in_val:
        in_val = {min(places, key=places.__getitem__)}
    elif len(in_val) == len(places):
        in_val.discard(max(places, key=places.__getitem__))
    train = [image for image in images if image.digest not in in_val]
    val = [image for image in images if image.digest in in_val]
    return train, val


def _place(digest: str, seed: int) -> float:
    """A number in [0, 1), uniform over contents and independent between seeds."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{digest}".encode()).digest()[:8]) / 2**64
