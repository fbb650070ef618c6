"""Pretrained weights of a Swin Transformer: the published ImageNet classifiers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from codetr.models.backbones.swin import Swin

_IGNORED_KEYS = re.compile(r"^(head|norm)\.|\.(attn_mask|relative_position_index)$")
"""The classifier, the normalisation before it, and constants that depend on the size of image and window."""


def swin_weights(backbone: Swin, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Adapt published weights to the backbone.

    The classifier, and stages that the backbone does not have, are dropped. Tables of position biases are resized to
    the backbone's window. Normalisations of the output maps, which classifiers do not have, keep their initial values.
    """
    state = backbone.state_dict()
    last = backbone.out_stages[-1]
    weights = {key: value for key, value in state.items() if key.startswith("norm")}
    for key, value in given.items():
        beyond = re.match(r"layers\.(\d+)\.(downsample)?", key)
        if _IGNORED_KEYS.search(key) or (beyond and int(beyond[1]) + bool(beyond[2]) > last):
            continue
        is_table = key.endswith(".relative_position_bias_table") and key in state
        weights[key] = resize_position_table(value, len(state[key])) if is_table else value
    return weights


def resize_position_table(table: Tensor, offsets: int) -> Tensor:
    """Resize a table of position biases to another window by bicubic interpolation.

    Args:
        table: (offsets, heads), a row for every offset between two tokens of a window: (2 * window - 1)² rows.
        offsets: number of rows of the result.

    Returns:
        (offsets, heads), or the unchanged table if its number of rows is not a square.
    """
    side, target_side = math.isqrt(len(table)), math.isqrt(offsets)
    if side == target_side or side * side != len(table):
        return table
    grid = table.float().T.unflatten(1, (side, side))[None]
    return F.interpolate(grid, size=(target_side, target_side), mode="bicubic")[0].flatten(1).T
