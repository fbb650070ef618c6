"""Random sampling of the foreground and background boxes that enter a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Permute = Callable[[int, torch.device], Tensor]
"""Draws a random permutation of n items: (n,) int64 on the device."""


@dataclass(frozen=True)
class RandomSampler:
    """Sample foreground boxes up to a fraction of all samples, and fill up with background boxes.

    Attributes:
        samples: most boxes per image.
        positive_fraction: upper bound of the fraction of foreground boxes.
    """

    samples: int
    positive_fraction: float

    def __call__(self, assigned: Tensor, permute: Permute) -> tuple[Tensor, Tensor]:
        """Sample the boxes of one image.

        Args:
            assigned: (n,) int64 from an assigner: positive for foreground, 0 for background, -1 if ignored.
            permute: draws the order whose first boxes are taken; called only if there are too many boxes.

        Returns:
            (positives,) and (negatives,) int64 indices of foreground and background boxes, each ascending.
        """
        positives = (assigned > 0).nonzero().squeeze(1)
        positives = _sample(positives, int(self.samples * self.positive_fraction), permute)
        negatives = (assigned == 0).nonzero().squeeze(1)
        return positives, _sample(negatives, self.samples - len(positives), permute)


def _sample(indices: Tensor, count: int, permute: Permute) -> Tensor:
    if len(indices) <= count:
        return indices
    return indices[permute(len(indices), indices.device)[:count]].sort().values
