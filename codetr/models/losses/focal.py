"""Sigmoid focal loss (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from codetr.models.losses.reduction import weighted_mean

_CHUNK = 2**24
"""Entries whose intermediate values are held at a time. With 1203 classes and 90 000 cells per image, each of the
four or five intermediate values of all entries would need nearly a gigabyte."""


def sigmoid_focal_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None,
    divisor: Tensor | float,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """Return the focal loss of one binary classification per class, a scalar.

    No one-hot target is built: every entry is computed as background, then the entry at the label is corrected.

    Args:
        logits: (items, classes).
        labels: (items,) int64; `classes` means background.
        weights: (items,) or None.
        divisor: see `weighted_mean`.
        alpha: weight of foreground entries; background entries weigh 1 - alpha.
        gamma: exponent of the modulating factor.
    """
    classes = logits.shape[1]
    losses = torch.cat([_background_sums(rows, alpha, gamma) for rows in logits.split(max(1, _CHUNK // classes))])
    at_label = logits.gather(1, labels.clamp(max=classes - 1)[:, None]).squeeze(1)
    correction = _foreground(at_label, alpha, gamma) - _background(at_label, alpha, gamma)
    return weighted_mean(losses + torch.where(labels < classes, correction, 0.0), weights, divisor)


def _background_sums(logits: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return sums over classes (items,); the backward pass computes intermediate values again."""

    def row_sums(rows: Tensor) -> Tensor:
        return _background(rows, alpha, gamma).sum(dim=1)

    sums: Tensor = checkpoint(row_sums, logits, use_reentrant=False, preserve_rng_state=False)
    return sums


def _foreground(logits: Tensor, alpha: float, gamma: float) -> Tensor:
    return alpha * (1 - logits.sigmoid()).pow(gamma) * F.softplus(-logits)


def _background(logits: Tensor, alpha: float, gamma: float) -> Tensor:
    return (1 - alpha) * logits.sigmoid().pow(gamma) * F.softplus(logits)
