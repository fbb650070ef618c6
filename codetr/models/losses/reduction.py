"""Reduction of every loss to a scalar: weighted, summed, divided by a count."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = torch.finfo(torch.float32).eps


def weighted_mean(losses: Tensor, weights: Tensor | None, divisor: Tensor | float) -> Tensor:
    """Return the sum of `losses * weights`, divided by `divisor`.

    Args:
        losses: (...) any shape.
        weights: a shape that broadcasts to that of `losses`, or None for all ones.
        divisor: number of items to average over, from a `Normalizer`. Float32 epsilon is added to it, as in the
            reference implementation.
    """
    if weights is not None:
        losses = losses * weights
    return losses.sum() / (divisor + _EPSILON)
