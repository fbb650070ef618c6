"""Generalised IoU loss (Rezatofighi et al., CVPR 2019)."""

from __future__ import annotations

from torch import Tensor

from codetr.models.boxes import paired_giou
from codetr.models.losses.reduction import weighted_mean


def giou_loss(boxes_xyxy: Tensor, target_boxes_xyxy: Tensor, weights: Tensor | None, divisor: Tensor | float) -> Tensor:
    """Return one minus the GIoU of every predicted box with its target, reduced to a scalar.

    Args:
        boxes_xyxy: (items, 4) predictions in pixels. Not normalised: GIoU divides by areas of at least 1e-6.
        target_boxes_xyxy: (items, 4) pixels.
        weights: (items,) or None.
        divisor: see `weighted_mean`.
    """
    return weighted_mean(1 - paired_giou(boxes_xyxy, target_boxes_xyxy), weights, divisor)
