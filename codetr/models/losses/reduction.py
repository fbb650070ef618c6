"""How every loss becomes one number: weighted, summed, divided by a count."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = torch.finfo(torch.float32).eps


def weighted_mean(losses: Tensor, weights: Tensor | None, divisor: Tensor | float) -> Tensor:
    """The sum of `losses * weights`, divided by `divisor`.

    Args:
        losses: (...) any shape.
        weights: of a shape that broadcasts to `losses`, or None for all ones.
        divisor: the count the loss is averaged over, from a `Normalizer`. Float32 epsilon is added to it, as the
            reference implementation does.
    """
    if weights is not None:
        losses = losses * weights
    return losses.sum() / (divisor + _EPSILON)
