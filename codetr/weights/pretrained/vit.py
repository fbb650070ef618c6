"""Pretrained weights of the vision transformer: EVA-02 checkpoints, pretrained or fine-tuned for classification.

Fang et al., "EVA-02: A Visual Representation for Neon Genesis", 2023. They have our key names; their patches and grids
of positions may have other sizes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from codetr.models.backbones.vit import ViT, resize_positions

_IGNORED_KEYS = re.compile(r"^(cls_token|mask_token)$|^(norm|fc_norm|head|lm_head)\.|(^|\.)rope(_win|_glb)?\.")
"""Tokens and heads of pretraining and classification, and rotary tables for other grids."""


def vit_weights(backbone: ViT, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Adapt published weights to the backbone.

    Patches and the grid of positions are resized bicubically. The class token, heads and the normalisation before them
    are dropped; the last normalisation and the rotary tables of the backbone, which such checkpoints do not have, keep
    their values.
    """
    state = backbone.state_dict()
    weights = {key: value for key, value in state.items() if key.startswith("out_norm.") or ".freqs_" in key}
    weights |= {key: value for key, value in given.items() if not _IGNORED_KEYS.search(key)}
    if "patch_embed.proj.weight" in weights:
        weights["patch_embed.proj.weight"] = _resize_patches(
            weights["patch_embed.proj.weight"], state["patch_embed.proj.weight"].shape[-1]
        )
    if "pos_embed" in weights:
        weights["pos_embed"] = _resize_positions(weights["pos_embed"], backbone.config.pretrained_grid)
    return weights


def _resize_patches(kernel: Tensor, size: int) -> Tensor:
    """Resize kernels (channels, 3, height, width) to (channels, 3, size, size); return other shapes unchanged."""
    if kernel.dim() != 4 or kernel.shape[-2:] == (size, size):
        return kernel
    return F.interpolate(kernel.float(), (size, size), mode="bicubic", align_corners=False)


def _resize_positions(positions: Tensor, side: int) -> Tensor:
    """Resize positions (1, 1 + cells, channels) of a square grid to (1, 1 + side², channels).

    The first entry, that of the class token, is kept. Other shapes are returned unchanged.
    """
    if positions.dim() != 3 or math.isqrt(max(0, positions.shape[1] - 1)) ** 2 != positions.shape[1] - 1:
        return positions
    grid = resize_positions(positions.float(), side, side).flatten(1, 2)
    return torch.cat((positions[:, :1].float(), grid), dim=1)
