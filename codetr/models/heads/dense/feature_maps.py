"""What the heads that predict at every cell of every level share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def flatten_map(predictions: Tensor, size: int) -> Tensor:
    """A map (batch, n * size, height, width) to (batch, height * width * n, size) float32, in the order of anchors."""
    return predictions.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, size)).float()


def map_sizes(features: Sequence[Tensor]) -> list[tuple[int, int]]:
    """(height, width) in cells of every map (batch, channels, height, width)."""
    return [(feature.shape[-2], feature.shape[-1]) for feature in features]


def top_indices(scores: Tensor, count: int, threshold: float) -> Tensor:
    """Indices of the `count` highest of (n,) scores above `threshold`, best first, equal ones in their order.

    That is what a stable sort of all gives, but only as many are sorted as can be among the best: scores of all
    classes at all cells are tens of millions.
    """
    candidates = scores > threshold
    if len(scores) > count:
        candidates &= scores >= scores.topk(count).values[-1]
    indices = candidates.nonzero().squeeze(1)
    return indices[scores[indices].argsort(descending=True, stable=True)[:count]]
