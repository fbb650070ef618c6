"""Random choice of the foreground and background boxes that a loss sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Permute = Callable[[int, torch.device], Tensor]
"""Draws a random order of n things: (n,) int64 on the device."""


@dataclass(frozen=True)
class RandomSampler:
    """At most so many boxes per image, of which at most a fraction foreground; background fills up.

    Attributes:
        samples: boxes per image.
        positive_fraction: upper bound of the foreground share.
    """

    samples: int
    positive_fraction: float

    def __call__(self, assigned: Tensor, permute: Permute) -> tuple[Tensor, Tensor]:
        """Indices of chosen foreground and background boxes, each ascending.

        Args:
            assigned: (n,) int64 of an assigner: positive is foreground, 0 background, -1 neither.
            permute: draws the order from which the first are taken; only asked when there are too many.
        """
        positives = (assigned > 0).nonzero().squeeze(1)
        positives = _choose(positives, int(self.samples * self.positive_fraction), permute)
        negatives = (assigned == 0).nonzero().squeeze(1)
        return positives, _choose(negatives, self.samples - len(positives), permute)


def _choose(indices: Tensor, count: int, permute: Permute) -> Tensor:
    if len(indices) <= count:
        return indices
    return indices[permute(len(indices), indices.device)[:count]].sort().values
