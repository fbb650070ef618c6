"""Helpers of heads that predict at every cell of every level."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def flatten_map(predictions: Tensor, size: int) -> Tensor:
    """Reorder a map (batch, n * size, height, width) to (batch, height * width * n, size) float32, as anchors are.

    Args:
        predictions: output of a convolution with n anchors per cell.
        size: numbers per anchor.
    """
    flattened: Tensor = predictions.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, size))
    return flattened.float()


def map_sizes(features: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Return (height, width) in cells of every feature map (batch, channels, height, width)."""
    return [(feature.shape[-2], feature.shape[-1]) for feature in features]


def top_indices(scores: Tensor, count: int, threshold: float) -> Tensor:
    """Return the indices of the `count` highest of scores (n,) above `threshold`, in descending order of the scores.

    Equal scores keep their order. The result equals that of a stable sort, but only candidates are sorted: there are
    tens of millions of scores for all classes at all cells.
    """
    candidates = scores > threshold
    if len(scores) > count:
        candidates &= scores >= scores.topk(count).values[-1]
    indices = candidates.nonzero().squeeze(1)
    return indices[scores[indices].argsort(descending=True, stable=True)[:count]]
