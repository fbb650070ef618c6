"""Generalised IoU loss (Rezatofighi et al., CVPR 2019)."""

from __future__ import annotations

from torch import Tensor

from codetr.models.boxes import paired_giou
from codetr.models.losses.reduction import weighted_mean


def giou_loss(predictions: Tensor, targets: Tensor, weights: Tensor | None, divisor: Tensor | float) -> Tensor:
    """One minus the GIoU of every predicted box with its target.

    Args:
        predictions: (items, 4) xyxy pixels. Not normalised: GIoU divides by areas of at least 1e-6 squared units.
        targets: (items, 4) xyxy pixels.
        weights: (items,) or None.
        divisor: see `weighted_mean`.
    """
    return weighted_mean(1 - paired_giou(predictions, targets), weights, divisor)
