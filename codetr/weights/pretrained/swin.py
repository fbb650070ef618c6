"""Weights for a Swin Transformer: the published classifiers, trained on ImageNet at another resolution."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from codetr.models.backbones.swin import Swin

_NOT_OF_A_BACKBONE = re.compile(r"^(head|norm)\.|\.(attn_mask|relative_position_index)$")
"""The classifier and the normalisation before it, and constants that depend on the size of image and window."""


def swin_weights(backbone: Swin, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published names and shapes, made to fit the backbone.

    The classifier and stages the backbone does not have are left out, tables of position biases are resized to the
    backbone's window, and the normalisations of the maps that are put out, which classifiers do not have, keep their
    initial values.
    """
    own = backbone.state_dict()
    last = backbone.out_stages[-1]
    weights = {key: value for key, value in own.items() if key.startswith("norm")}
    for key, value in given.items():
        beyond = re.match(r"layers\.(\d+)\.(downsample)?", key)
        if _NOT_OF_A_BACKBONE.search(key) or (beyond and int(beyond[1]) + bool(beyond[2]) > last):
            continue
        is_table = key.endswith(".relative_position_bias_table") and key in own
        weights[key] = resize_position_table(value, len(own[key])) if is_table else value
    return weights


def resize_position_table(table: Tensor, offsets: int) -> Tensor:
    """A table of position biases for windows of another size, by bicubic interpolation.

    Args:
        table: (offsets, heads), a row for every offset between two tokens of a window: (2 * window - 1)² of them.
        offsets: rows that are wanted.

    Returns:
        (offsets, heads), or the table as it is if its rows are not those of a square.
    """
    side, wanted = math.isqrt(len(table)), math.isqrt(offsets)
    if side == wanted or side * side != len(table):
        return table
    grid = table.float().T.unflatten(1, (side, side))[None]
    return F.interpolate(grid, size=(wanted, wanted), mode="bicubic")[0].flatten(1).T
