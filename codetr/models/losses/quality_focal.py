"""Quality focal loss, which trains scores to predict the IoU (Li et al., "Generalized Focal Loss", NeurIPS 2020)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from codetr.models.losses.reduction import weighted_mean


def quality_focal_loss(
    logits: Tensor,
    labels: Tensor,
    qualities: Tensor,
    weights: Tensor | None,
    divisor: Tensor | float,
    *,
    beta: float = 2.0,
) -> Tensor:
    """Return the binary cross entropy, weighted by the distance of the scores to their targets, as a scalar.

    The target is the quality at the label and 0 elsewhere.

    Args:
        logits: (items, classes).
        labels: (items,) int64; `classes` means background.
        qualities: (items,) targets in [0, 1] of the entry at the label, without gradient: the IoU of the predicted
            box with its target. Not used for background.
        weights: (items,) or None.
        divisor: see `weighted_mean`.
        beta: exponent of the distance.
    """
    losses = (logits.sigmoid().pow(beta) * F.softplus(logits)).sum(dim=1)
    at_label = logits.gather(1, labels.clamp(max=logits.shape[1] - 1)[:, None]).squeeze(1)
    distance = (qualities - at_label.sigmoid()).abs().pow(beta)
    entropy = F.binary_cross_entropy_with_logits(at_label, qualities, reduction="none")
    correction = entropy * distance - at_label.sigmoid().pow(beta) * F.softplus(at_label)
    losses = losses + torch.where(labels < logits.shape[1], correction, 0.0)
    return weighted_mean(losses, weights, divisor)
