"""Which images form which batch."""

from __future__ import annotations

import numpy as np
import pytest

from codetr.data.loading.batching import effective_batch_count, effective_batches, rank_batches

WIDE = np.random.default_rng(0).random(37) < 0.6


@pytest.mark.parametrize("images", [1, 2, 3, 7, 8, 37])
@pytest.mark.parametrize("size", [1, 2, 4, 16])
def test_every_image_is_used_and_little_is_repeated(images: int, size: int) -> None:
    batches = effective_batches(WIDE[:images], size, seed=1, epoch=0)
    assert batches.shape == (effective_batch_count(images, size), size)
    counts = np.bincount(batches.ravel(), minlength=images)
    assert counts.min() >= 1
    assert counts.sum() - images < size


def test_batches_are_of_one_orientation_except_what_remains() -> None:
    batches = effective_batches(WIDE, 4, seed=1, epoch=0)
    mixed = [batch for batch in batches if len(set(WIDE[batch])) > 1]
    # What remains of two groups is less than two batches.
    assert len(mixed) <= 2


def test_order_depends_on_seed_and_epoch_alone() -> None:
    first = effective_batches(WIDE, 4, seed=1, epoch=2)
    np.testing.assert_array_equal(first, effective_batches(WIDE, 4, seed=1, epoch=2))
    assert (first != effective_batches(WIDE, 4, seed=1, epoch=3)).any()
    assert (first != effective_batches(WIDE, 4, seed=2, epoch=2)).any()


@pytest.mark.parametrize(("accumulate", "world_size"), [(1, 1), (1, 4), (4, 1), (2, 2)])
def test_shares_tile_the_effective_batches(accumulate: int, world_size: int) -> None:
    """However it is divided, an optimiser step sees the same images, so results can be compared."""
    batches = effective_batches(WIDE, 8, seed=0, epoch=0)
    shares = [
        rank_batches(batches, accumulate=accumulate, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    size = 8 // (accumulate * world_size)
    for local in shares:
        assert local.shape == (len(batches) * accumulate, size)
    for step, batch in enumerate(batches):
        micro = slice(step * accumulate, (step + 1) * accumulate)
        assert sorted(np.concatenate([local[micro].ravel() for local in shares])) == sorted(batch)
