"""The last layer of a mask head: it has a mask for every class, of which only one is wanted."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def class_logits(layer: nn.Conv2d, x: Tensor, labels: Tensor) -> Tensor:
    """(regions, height, width) float32 logits of each region's class, without computing those of the other classes.

    Args:
        layer: 1×1 convolution with one output per class, or with a single one for all.
        x: (regions, channels, height, width).
        labels: (regions,) int64 in [0, classes).
    """
    index = labels if layer.out_channels > 1 else torch.zeros_like(labels)
    assert layer.bias is not None
    logits = torch.einsum("rchw,rc->rhw", x, layer.weight[index, :, 0, 0])
    return logits.float() + layer.bias[index, None, None]
