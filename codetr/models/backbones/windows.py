"""Maps that are padded to whole windows, and back."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def ceil_div(side: int, size: int) -> int:
    """How many windows or cells of `size` it takes to cover `side`.

    Written without `-side % size`, which torch.export does not follow for sizes that it does not know.
    """
    return (side + size - 1) // size


def pad_to_windows(x: Tensor, size: int) -> tuple[Tensor, int, int]:
    """Pad a map with zeros below and right.

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
    """The upper left (batch, height, width, channels) of a map that is at least as large."""
    if torch.compiler.is_exporting():
        # That the result of slices is not smaller cannot be seen from the formulas of these sizes.
        rows, columns = (torch.arange(side, device=x.device) for side in (height, width))
        return x.index_select(1, rows).index_select(2, columns)
    return x[:, :height, :width]
