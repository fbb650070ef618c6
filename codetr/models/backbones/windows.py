"""Padding of feature maps to multiples of a window, and its inverse."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def ceil_div(side: int, size: int) -> int:
    """Return `side / size`, rounded up.

    Written without `-side % size`, which torch.export does not support for symbolic sizes.
    """
    return (side + size - 1) // size


def pad_to_windows(x: Tensor, size: int) -> tuple[Tensor, int, int]:
    """Pad a map with zeros at the bottom and right to a multiple of the window.

    Args:
        x: (batch, height, width, channels).
        size: side of a window, in cells.

    Returns:
        (batch, rows * size, columns * size, channels), rows and columns of windows.
    """
    height, width = x.shape[1], x.shape[2]
    rows, columns = ceil_div(height, size), ceil_div(width, size)
    return F.pad(x, (0, 0, 0, columns * size - width, 0, rows * size - height)), rows, columns


def crop(x: Tensor, height: int, width: int) -> Tensor:
    """Crop a map to its upper left part (batch, height, width, channels)."""
    if torch.compiler.is_exporting():
        # torch.export cannot prove that the map is at least as large as the slice.
        rows, columns = (torch.arange(side, device=x.device) for side in (height, width))
        return x.index_select(1, rows).index_select(2, columns)
    return x[:, :height, :width]
