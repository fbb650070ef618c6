"""Boundary-aware losses and refinement of masks (Zhang et al., "RefineMask", CVPR 2021, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from codetr.models.losses.mask import mask_loss
from codetr.models.losses.normalizer import Normalizer
from codetr.models.losses.reduction import weighted_mean

_MIN_FRACTION = 0.1
"""A cell is near the boundary if more than this fraction of the window around it lies on the other side."""


def boundary_region(masks: Tensor, width: int) -> Tensor:
    """Return the cells near the boundary of a mask, on both sides of it: (regions, height, width) bool.

    Cells beyond the border count as outside the mask.

    Args:
        masks: (regions, height, width) bool.
        width: half the side of the window around a cell, in cells.
    """
    window = (2 * width + 1) ** 2
    inside = F.avg_pool2d(masks[:, None].float(), 2 * width + 1, stride=1, padding=width)[:, 0] * window
    other_side = torch.where(masks, window - inside, inside)
    # Counts are integers, apart from rounding.
    return other_side.round() > _MIN_FRACTION * window


def upsample(cells: Tensor, size: int) -> Tensor:
    """Interpolate values (regions, height, width) bilinearly to (regions, size, size), with aligned corners."""
    return F.interpolate(cells[:, None].float(), (size, size), mode="bilinear", align_corners=True)[:, 0]


def refine_masks(stages: Sequence[Tensor]) -> Tensor:
    """Merge the logits of all stages: finer ones near the boundary of the mask so far, coarser ones elsewhere.

    Args:
        stages: logits (regions, side, side), coarse to fine.

    Returns:
        Logits of the size of the last stage.
    """
    refined = stages[0]
    for finer in stages[1:]:
        size = finer.shape[-1]
        off_boundary = upsample(~boundary_region(refined >= 0, 1), size) >= 0.5
        refined = torch.where(off_boundary, upsample(refined, size), finer)
    return refined


def boundary_aware_losses(
    stages: Sequence[Tensor], targets: Sequence[Tensor], normalizer: Normalizer, *, full_stages: int = 2, width: int = 2
) -> list[Tensor]:
    """Return the cross entropy of every stage: of all cells in the first stages, of cells near the boundary afterwards.

    The boundary is that of the previous stage, of its prediction or of its target.

    Args:
        stages: logits (regions, side, side), coarse to fine.
        targets: bool, of the same shapes.
        normalizer: called with the number of regions in full stages and with the number of cells in the others.
        full_stages: number of stages in which every cell counts.
        width: width of the boundary, in cells of the previous stage.
    """
    losses = []
    predicted = stages[0] >= 0
    for stage, (logits, target) in enumerate(zip(stages, targets, strict=True)):
        if stage < full_stages:
            losses.append(mask_loss(logits, target, normalizer(len(logits), logits.device)))
            predicted = logits >= 0
            continue
        size = logits.shape[-1]
        near = boundary_region(predicted, width) | boundary_region(targets[stage - 1], width)
        near = upsample(near, size) >= 0.5
        entropy = F.binary_cross_entropy_with_logits(logits, target.to(logits), reduction="none")
        losses.append(weighted_mean(entropy, near, normalizer(near.sum(), logits.device)))
        # The mask of this stage at inference.
        refined = upsample(boundary_region(predicted, 1), size) >= 0.5
        predicted = torch.where(refined, logits >= 0, upsample(predicted, size) >= 0.5)
    return losses
