"""Sigmoid cross entropy: objectness of region proposals, centerness of ATSS."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from codetr.models.losses.reduction import weighted_mean


def binary_cross_entropy_loss(
    logits: Tensor, targets: Tensor, weights: Tensor | None, divisor: Tensor | float
) -> Tensor:
    """Return the cross entropy of independent binary decisions, a scalar.

    Args:
        logits: (items,).
        targets: (items,) probabilities in [0, 1]; 1 is foreground.
        weights: (items,) or None.
        divisor: see `weighted_mean`.
    """
    return weighted_mean(F.binary_cross_entropy_with_logits(logits, targets, reduction="none"), weights, divisor)
