"""What a training loop is given in tests: images, a request to stop, and a validation that keeps what it saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from codetr.data.loading.unreadable import BadImage
from codetr.distributed.signals import StopRequest
from codetr.models.detector import CoDETR
from codetr.training.step import MicroBatch
from tests.support.training.tiny_training import cut, images


class Drawn:
    """A few images as batches of one, in another order every epoch."""

    skips_bad_images = False

    def __init__(self, count: int, seed: int = 0, images_per_step: int = 2) -> None:
        self.images_per_step = images_per_step
        self.parts = cut(*images(count, seed=seed), count)

    def __len__(self) -> int:
        return len(self.parts)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[MicroBatch]:
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(epoch))
        return (self.parts[i] for i in order[start:])

    def take_bad_images(self, before: int) -> list[BadImage]:
        return []


class StopAfter(StopRequest):
    """Asks to stop once so many steps have begun."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    @property
    def received(self) -> bool:
        self.left -= 1
        return self.left < 0


class Validation:
    """Validation that measures something which depends on the weights, and keeps what it saw."""

    def __init__(self, aps: Sequence[float] | None = None) -> None:
        self.seen: list[float] = []
        self.aps = aps

    def __call__(self, detector: nn.Module, track: object) -> dict[str, float | int | None]:
        assert isinstance(detector, CoDETR)
        assert detector(images(1)[0]) is not None
        weight = float(detector.get_parameter("encoder.layers.0.feedforward.expand.weight").detach().double().sum())
        self.seen.append(weight)
        return {"AP": self.aps[len(self.seen) - 1] if self.aps else weight % 1, "AP50": None}
