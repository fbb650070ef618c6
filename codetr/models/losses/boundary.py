"""Losses and refinement of masks near their boundaries (Zhang et al., "RefineMask", CVPR 2021, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from codetr.models.losses.mask import mask_loss
from codetr.models.losses.normalizer import Normalizer
from codetr.models.losses.reduction import weighted_mean

_MIN_FRACTION = 0.1
"""A cell is at the boundary if more than this share of the window around it lies on the other side."""


def boundary(masks: Tensor, width: int) -> Tensor:
    """(regions, height, width) bool: cells near the segmentation of a mask, on both sides of it.

    What lies beyond the border counts as outside the mask.

    Args:
        masks: (regions, height, width) bool.
        width: cells that are looked at in every direction.
    """
    window = (2 * width + 1) ** 2
    inside = F.avg_pool2d(masks[:, None].float(), 2 * width + 1, stride=1, padding=width)[:, 0] * window
    other_side = torch.where(masks, window - inside, inside)
    # Counts are whole numbers, apart from rounding.
    return other_side.round() > _MIN_FRACTION * window


def upsample(cells: Tensor, size: int) -> Tensor:
    """(regions, height, width) values interpolated to (regions, size, size), corner on corner."""
    return F.interpolate(cells[:, None].float(), (size, size), mode="bilinear", align_corners=True)[:, 0]


def refine(stages: Sequence[Tensor]) -> Tensor:
    """Logits of the last stage where the boundary of the stage before is, and of the stage before elsewhere.

    Args:
        stages: logits (regions, side, side), coarse to fine; every stage is refined by the next.
    """
    refined = stages[0]
    for finer in stages[1:]:
        size = finer.shape[-1]
        away = upsample(~boundary(refined >= 0, 1), size) >= 0.5
        refined = torch.where(away, upsample(refined, size), finer)
    return refined


def boundary_aware_losses(
    stages: Sequence[Tensor], targets: Sequence[Tensor], normalizer: Normalizer, *, whole: int = 2, width: int = 2
) -> list[Tensor]:
    """Cross entropy of every stage: of all cells in the first stages, of those near the boundary in the others.

    Near means near the boundary of the stage before, as it was predicted or as it should be.

    Args:
        stages: logits (regions, side, side), coarse to fine.
        targets: bool, of the same shapes.
        normalizer: asked for the number of regions of every whole stage and of cells of every other one.
        whole: number of stages that learn everywhere.
        width: of the boundary, in cells of the stage before.
    """
    losses = []
    predicted = stages[0] >= 0
    for stage, (logits, target) in enumerate(zip(stages, targets, strict=True)):
        if stage < whole:
            losses.append(mask_loss(logits, target, normalizer(len(logits), logits.device)))
            predicted = logits >= 0
            continue
        size = logits.shape[-1]
        near = boundary(predicted, width) | boundary(targets[stage - 1], width)
        near = upsample(near, size) >= 0.5
        entropy = F.binary_cross_entropy_with_logits(logits, target.to(logits), reduction="none")
        losses.append(weighted_mean(entropy, near, normalizer(near.sum(), logits.device)))
        # What the mask would be at inference.
        changed = upsample(boundary(predicted, 1), size) >= 0.5
        predicted = torch.where(changed, logits >= 0, upsample(predicted, size) >= 0.5)
    return losses
