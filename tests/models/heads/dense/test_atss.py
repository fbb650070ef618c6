"""The ATSS head: its targets."""

from __future__ import annotations

import torch

from tests.support.models.auxiliary_heads import (
    CANVAS,
    Heads,
    image_batch,
    target,
)


def test_targets_of_an_image_do_not_depend_on_its_batch(heads: Heads) -> None:
    """Padding and other images must not affect the targets of an image."""
    alone = heads.atss.targets([(8, 12), (4, 6), (2, 3)], image_batch((50, 70)), [target((10, 10, 50, 40))])
    beside = heads.atss.targets(
        [(8, 12), (4, 6), (2, 3)], image_batch(CANVAS, (50, 70)), [target(), target((10, 10, 50, 40))]
    )
    for name in ("anchors", "labels", "boxes", "weights", "foreground"):
        assert torch.equal(getattr(alone, name)[0], getattr(beside, name)[1]), name
