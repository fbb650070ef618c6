"""The last layer of a mask head, which computes only the mask of each region's class."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ClassLogits(nn.Module):
    """A 1×1 convolution with one output per class, computed for each region's class alone.

    Args:
        channels: channels of the input.
        classes: number of classes; 1 for class-agnostic masks.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(classes))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return the logits (regions, height, width) float32 of each region's class.

        Args:
            x: (regions, channels, height, width).
            labels: (regions,) int64 in [0, classes); ignored if masks are class-agnostic.
        """
        index = labels if len(self.bias) > 1 else torch.zeros_like(labels)
        logits = torch.einsum("rchw,rc->rhw", x, self.weight[index, :, 0, 0])
        return logits.float() + self.bias[index, None, None]
