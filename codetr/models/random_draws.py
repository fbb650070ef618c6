"""The random numbers of a training step, behind one class so that a test can pass recorded ones.

All of them come from torch's default generators: restoring their states repeats a step exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class DenoisingNoise:
    """Noise for the denoising queries: `copies` noisy copies of every object of the batch.

    Attributes:
        label_chance: (copies, objects) uniform in [0, 1); copies below a threshold get a random label.
        labels: (copies, objects) int64, the random labels.
        signs: (copies, objects, 4) float32, -1 or 1: direction in which each corner coordinate moves.
        shifts: (copies, objects, 4) uniform in [0, 1): distance by which it moves.
    """

    label_chance: Tensor
    labels: Tensor
    signs: Tensor
    shifts: Tensor


class RandomDraws:
    """Draw from torch's default generator of a device."""

    def permutation(self, count: int, device: torch.device) -> Tensor:
        """Return a random permutation (count,) int64."""
        return torch.randperm(count, device=device)

    def exponential(self, images: int, num_classes: int, device: torch.device) -> Tensor:
        """Return (images, num_classes) samples of the exponential distribution of mean 1."""
        return torch.empty(images, num_classes, device=device).exponential_()

    def denoising(self, copies: int, objects: int, num_classes: int, device: torch.device) -> DenoisingNoise:
        """Return noise for `copies` copies of `objects` objects."""
        return DenoisingNoise(
            torch.rand(copies, objects, device=device),
            torch.randint(num_classes, (copies, objects), device=device),
            torch.randint(2, (copies, objects, 4), device=device).float() * 2 - 1,
            torch.rand(copies, objects, 4, device=device),
        )
