"""Softmax cross entropy: classes of the RoI head, with background as the last one."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from codetr.models.losses.reduction import weighted_mean


def cross_entropy_loss(logits: Tensor, labels: Tensor, weights: Tensor | None, divisor: Tensor | float) -> Tensor:
    """Return the cross entropy of a choice among all classes and background, a scalar.

    Args:
        logits: (items, classes + 1), background last.
        labels: (items,) int64 in [0, classes].
        weights: (items,) or None.
        divisor: see `weighted_mean`.
    """
    return weighted_mean(F.cross_entropy(logits, labels, reduction="none"), weights, divisor)
