"""Form batches of images: a pure function of (seed, epoch, images, effective batch size).

Images of one orientation (wider than high, or not) are batched together, as the official implementation does, because
a batch is padded to its largest image. No image is left out: an incomplete batch is filled with images from the start
of the epoch's order, which are then seen twice.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def effective_batches(wide: NDArray[np.bool_], size: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Draw the effective batches (all processes, all accumulated micro-batches) of one epoch.

    Args:
        wide: (images,) whether the image is wider than high.
        size: images per effective batch.
        seed: of the run.
        epoch: from 0.

    Returns:
        (batches, size) image indices; every image occurs at least once.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(wide))
    full, rest = [], []
    for group in (order[wide[order]], order[~wide[order]]):
        end = len(group) - len(group) % size
        full.append(group[:end].reshape(-1, size))
        rest.append(group[end:])
    remaining = np.concatenate(rest)
    missing = -len(remaining) % size
    remaining = np.concatenate([remaining, np.resize(order, missing)]).reshape(-1, size)
    batches = np.concatenate([*full, remaining])
    return batches[random.permutation(len(batches))].astype(np.int64)


def effective_batch_count(images: int, size: int) -> int:
    """Return the number of effective batches per epoch."""
    return math.ceil(images / size)


def rank_batches(batches: NDArray[np.int64], *, accumulate: int, rank: int, world_size: int) -> NDArray[np.int64]:
    """Return the micro-batches of one process.

    Args:
        batches: (batches, accumulate * world_size * batch_size) effective batches.
        accumulate: micro-batches per effective batch.
        rank: of the process.
        world_size: number of processes.

    Returns:
        (batches * accumulate, batch_size) image indices. Those of all ranks together make up every effective batch.
    """
    count, size = batches.shape
    parts = batches.reshape(count, accumulate, world_size, size // (accumulate * world_size))
    return parts[:, :, rank].reshape(count * accumulate, -1)
