"""Stochastic depth: residual branches that are dropped at random in training (Huang et al., ECCV 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Drop a residual branch for whole samples and scale up the others; the identity in evaluation mode.

    Random numbers come from torch's default generator.

    Args:
        rate: probability that the branch of a sample is dropped, in [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (batch, ...) with zeros for the dropped samples."""
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        kept = torch.rand(len(x), device=x.device) < keep
        return x * (kept / keep).to(x.dtype).view(-1, *[1] * (x.dim() - 1))
