"""Weights for the vision transformer: published EVA-02 checkpoints, pretrained or fine-tuned for classification.

Fang et al., "EVA-02: A Visual Representation for Neon Genesis", 2023. Their names are ours; their patches and grids of
positions may have other sizes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from codetr.models.backbones.vit import ViT, resize_positions

_NOT_OF_A_BACKBONE = re.compile(r"^(cls_token|mask_token)$|^(norm|fc_norm|head|lm_head)\.|(^|\.)rope(_win|_glb)?\.")
"""What precedes and follows the blocks in pretraining and classification, and rotary tables for other grids."""


def vit_weights(backbone: ViT, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published names and shapes, made to fit the backbone.

    Patches and the grid of positions are resized bicubically. The class token, heads and the normalisation before them
    are left out; the last normalisation and the rotary tables of the backbone, which such checkpoints do not have,
    keep their values.
    """
    own = backbone.state_dict()
    weights = {key: value for key, value in own.items() if key.startswith("out_norm.") or ".freqs_" in key}
    weights |= {key: value for key, value in given.items() if not _NOT_OF_A_BACKBONE.search(key)}
    if "patch_embed.proj.weight" in weights:
        weights["patch_embed.proj.weight"] = _resized_patches(
            weights["patch_embed.proj.weight"], own["patch_embed.proj.weight"].shape[-1]
        )
    if "pos_embed" in weights:
        weights["pos_embed"] = _resized_positions(weights["pos_embed"], backbone.config.pretrained_grid)
    return weights


def _resized_patches(kernel: Tensor, size: int) -> Tensor:
    """Kernels (channels, 3, height, width) to (channels, 3, size, size); what is not of that form stays as it is."""
    if kernel.dim() != 4 or kernel.shape[-2:] == (size, size):
        return kernel
    return F.interpolate(kernel.float(), (size, size), mode="bicubic", align_corners=False)


def _resized_positions(positions: Tensor, side: int) -> Tensor:
    """(1, 1 + cells, channels) of a square to (1, 1 + side², channels); what is not of that form stays as it is.

    The first entry, the class token's, is kept.
    """
    if positions.dim() != 3 or math.isqrt(max(0, positions.shape[1] - 1)) ** 2 != positions.shape[1] - 1:
        return positions
    grid = resize_positions(positions.float(), side, side).flatten(1, 2)
    return torch.cat((positions[:, :1].float(), grid), dim=1)
