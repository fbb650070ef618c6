"""Cross entropy of masks (He et al., "Mask R-CNN", ICCV 2017, section 3)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from codetr.models.losses.reduction import weighted_mean


def mask_loss(logits: Tensor, targets: Tensor, divisor: Tensor | float) -> Tensor:
    """Return the binary cross entropy of every cell, averaged over the cells of a region and over regions.

    Args:
        logits: (regions, height, width).
        targets: (regions, height, width) bool.
        divisor: number of regions, see `weighted_mean`.
    """
    losses = F.binary_cross_entropy_with_logits(logits, targets.to(logits), reduction="none")
    return weighted_mean(losses.mean(dim=(1, 2)), None, divisor)
