"""Sine position encodings (Vaswani et al., 2017; Carion et al., "DETR", ECCV 2020) and the inverse sigmoid."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Return the logit of `x`, with `x` and `1 - x` clamped to [`eps`, 1]."""
    return torch.log(x.clamp(eps, 1.0) / (1 - x).clamp(eps, 1.0))


def sine_embedding(coordinates: Tensor, features: int, temperature: float = 10000.0) -> Tensor:
    """Encode every coordinate by interleaved sines and cosines of decreasing frequency.

    Args:
        coordinates: (..., n), where 1 is a full period of the highest frequency.
        features: features per coordinate, even.
        temperature: ratio of the highest to the lowest frequency.

    Returns:
        (..., n * features), coordinate by coordinate.
    """
    index = torch.arange(features // 2, dtype=torch.float32, device=coordinates.device)
    frequencies = temperature ** (2 * index / features)
    angles = (coordinates.float() * (2 * math.pi))[..., None] / frequencies
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-3)


def box_embedding(box_logits: Tensor, channels: int) -> Tensor:
    """Return the sine embedding (..., 2 * channels) of boxes (..., 4), given as logits of normalised cxcywh."""
    return sine_embedding(box_logits.sigmoid(), channels // 2)


def sine_positions(padding_mask: Tensor, features: int, *, temperature: float, offset: float) -> Tensor:
    """Encode every cell of a map by its row and column, relative to the valid area.

    Args:
        padding_mask: (batch, height, width) bool, True for padding.
        features: features per axis, even.
        temperature: see `sine_embedding`.
        offset: added to the one-based row and column before they are divided by the valid size, in cells.

    Returns:
        (batch, height, width, 2 * features), rows first.
    """
    valid = (~padding_mask).float()
    rows, columns = valid.cumsum(1), valid.cumsum(2)
    rows = (rows + offset) / (rows[:, -1:, :] + 1e-6)
    columns = (columns + offset) / (columns[:, :, -1:] + 1e-6)
    return sine_embedding(torch.stack((rows, columns), dim=-1), features, temperature)
