"""Stochastic depth: residual branches that are left out at random in training (Huang et al., ECCV 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Leaves out a residual branch for whole samples, and scales up those that stay; the identity in evaluation mode.

    Draws come from torch's default generator.

    Args:
        rate: probability that a sample's branch is left out, in [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(batch, ...) to the same shape, with zeros for some samples."""
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        kept = torch.rand(len(x), device=x.device) < keep
        return x * (kept / keep).to(x.dtype).view(-1, *[1] * (x.dim() - 1))
