"""Rotary position embeddings of the cells of a grid (Su et al., "RoFormer", 2021; Fang et al., "EVA-02", 2023).

The channels of an attention head form pairs that are rotated by an angle proportional to the cell's position, so that
the product of a query and a key depends on their relative position. The first half of the channels rotates with the
row, the second half with the column.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LARGEST_WAVELENGTH = 10000.0
_EXTENT = 16
"""Positions run from 0 to this over a grid of any size: the side, in cells, of the grid EVA-02 was pretrained on."""


def rotary_angles(height: int, width: int, channels: int, device: torch.device | None = None) -> Tensor:
    """Return the angles (height * width, channels) float32, in radians, by which channels are rotated.

    Args:
        height, width: size of the grid in cells.
        channels: channels of one attention head; a multiple of 4.
        device: device of the result.
    """
    half = channels // 2
    frequencies = 1 / _LARGEST_WAVELENGTH ** (torch.arange(0, half, 2, device=device) / half)
    per_channel = torch.stack((frequencies, frequencies), dim=-1).flatten()  # both channels of a pair have one angle

    def along(length: int) -> Tensor:
        positions = torch.arange(length, device=device) / length * _EXTENT
        return positions[:, None] * per_channel

    rows = along(height)[:, None].expand(height, width, half)
    columns = along(width)[None].expand(height, width, half)
    return torch.cat((rows, columns), dim=-1).flatten(0, 1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the channel pairs (2i, 2i + 1) of queries or keys.

    Args:
        x: (..., cells, channels).
        cos, sin: (cells, channels) float32 of the angles; the product is computed in float32.

    Returns:
        The shape and dtype of `x`.
    """
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    quarter_turn = torch.stack((-second, first), dim=-1).flatten(-2)
    return (x * cos + quarter_turn * sin).to(x.dtype)


class RotaryTable(nn.Module):
    """Cosines and sines for square grids of one size, as persistent buffers.

    Args:
        side: side of the grid in cells.
        channels: channels of one attention head; a multiple of 4.
    """

    freqs_cos: Tensor
    freqs_sin: Tensor

    def __init__(self, side: int, channels: int) -> None:
        super().__init__()
        angles = rotary_angles(side, side, channels)
        self.register_buffer("freqs_cos", angles.cos())
        self.register_buffer("freqs_sin", angles.sin())
