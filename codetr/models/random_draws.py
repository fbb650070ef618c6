"""The random draws of a training step, in one place so that a test can hand in recorded ones.

Everything is drawn from torch's default generators: restoring their states repeats a step exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class DenoisingNoise:
    """Noise for the denoising queries: `copies` noisy copies of every object of the batch.

    Attributes:
        label_chance: (copies, objects) uniform in [0, 1); a low one gives the copy a random label.
        labels: (copies, objects) int64, the random labels.
        signs: (copies, objects, 4) float32, -1 or 1, where each corner coordinate moves.
        shifts: (copies, objects, 4) uniform in [0, 1), how far.
    """

    label_chance: Tensor
    labels: Tensor
    signs: Tensor
    shifts: Tensor


class RandomDraws:
    """Draws from torch's default generator of the device asked for."""

    def permutation(self, count: int, device: torch.device) -> Tensor:
        """(count,) int64, the numbers below `count` in random order."""
        return torch.randperm(count, device=device)

    def exponential(self, images: int, num_classes: int, device: torch.device) -> Tensor:
        """(images, num_classes) from the exponential distribution of mean 1, to draw classes of every image by."""
        return torch.empty(images, num_classes, device=device).exponential_()

    def denoising(self, copies: int, objects: int, num_classes: int, device: torch.device) -> DenoisingNoise:
        """Noise for `copies` copies of `objects` objects."""
        return DenoisingNoise(
            torch.rand(copies, objects, device=device),
            torch.randint(num_classes, (copies, objects), device=device),
            torch.randint(2, (copies, objects, 4), device=device).float() * 2 - 1,
            torch.rand(copies, objects, 4, device=device),
        )
