"""Rotary position embedding of the cells of a grid (Su et al., "RoFormer", 2021; Fang et al., "EVA-02", 2023).

The channels of an attention head form pairs that are turned by an angle in proportion to the cell's position, so the
product of a query and a key depends on how far apart they are. The first half of the channels turns with the row, the
second with the column.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LARGEST_WAVELENGTH = 10000.0
_EXTENT = 16
"""Positions run from 0 to this over a grid of any size: the side, in cells, of the grid EVA-02 was pretrained on."""


def rotary_angles(height: int, width: int, channels: int, device: torch.device | None = None) -> Tensor:
    """Angles in radians by which the channels of every cell turn, (height * width, channels), float32.

    Args:
        height, width: of the grid, in cells.
        channels: of one attention head; a multiple of 4.
        device: of the result.
    """
    half = channels // 2
    frequencies = 1 / _LARGEST_WAVELENGTH ** (torch.arange(0, half, 2, device=device) / half)
    per_channel = torch.stack((frequencies, frequencies), dim=-1).flatten()  # both channels of a pair turn alike

    def along(length: int) -> Tensor:
        positions = torch.arange(length, device=device) / length * _EXTENT
        return positions[:, None] * per_channel

    rows = along(height)[:, None].expand(height, width, half)
    columns = along(width)[None].expand(height, width, half)
    return torch.cat((rows, columns), dim=-1).flatten(0, 1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the channel pairs (2i, 2i + 1) of queries or keys.

    Args:
        x: (..., cells, channels).
        cos, sin: (cells, channels) of the angles, float32; the product is computed in their precision.
    """
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    quarter_turn = torch.stack((-second, first), dim=-1).flatten(-2)
    return (x * cos + quarter_turn * sin).to(x.dtype)


class RotaryTable(nn.Module):
    """Cosines and sines for square grids of one size, as buffers that belong to the weights.

    Args:
        side: of the grid, in cells.
        channels: of one attention head; a multiple of 4.
    """

    freqs_cos: Tensor
    freqs_sin: Tensor

    def __init__(self, side: int, channels: int) -> None:
        super().__init__()
        angles = rotary_angles(side, side, channels)
        self.register_buffer("freqs_cos", angles.cos())
        self.register_buffer("freqs_sin", angles.sin())
