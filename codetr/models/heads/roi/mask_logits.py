"""The last layer of a mask head: it has a mask for every class, of which only one is wanted."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ClassLogits(nn.Module):
    """A 1×1 convolution with one output per class, computed for each region's class alone.

    Args:
        channels: of the input.
        classes: 1 for the same mask whatever the class.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(classes))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(regions, height, width) float32 logits.

        Args:
            x: (regions, channels, height, width).
            labels: (regions,) int64 in [0, classes); any with the same mask for all.
        """
        index = labels if len(self.bias) > 1 else torch.zeros_like(labels)
        logits = torch.einsum("rchw,rc->rhw", x, self.weight[index, :, 0, 0])
        return logits.float() + self.bias[index, None, None]
