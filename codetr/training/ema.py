"""Exponential moving average of a detector's weights, with a momentum that falls exponentially to its final value."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from codetr.training.config import EmaConfig
from codetr.training.sharding import local, shard_like


def ema_momentum(config: EmaConfig, iteration: int) -> float:
    """Return the weight of the current weights in the average after optimiser step `iteration` (from 0).

    (1 - m) exp(-(1 + iteration) / warmup_iterations) + m, as in MMDetection's ExpMomentumEMAHook: the average
    follows the weights closely at first and slowly later.
    """
    return (1 - config.momentum) * math.exp(-(1 + iteration) / config.warmup_iterations) + config.momentum


class Ema:
    """The average of parameters and floating-point buffers; other buffers are copied from the detector.

    Attributes:
        average: name in the detector's state dict → averaged tensor, on the same device and sharded in the same way.
    """

    def __init__(self, detector: nn.Module, config: EmaConfig) -> None:
        self._config = config
        self.average: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in detector.state_dict().items()
        }

    @torch.no_grad()
    def update(self, detector: nn.Module, iteration: int) -> None:
        """Move the average towards the detector's weights after optimiser step `iteration` (from 0)."""
        averages, values = [], []
        for name, value in detector.state_dict().items():
            if value.is_floating_point():
                averages.append(local(self.average[name]))
                values.append(local(value))
            else:
                self.average[name].copy_(value)
        # a + m (x - a): frozen weights, x = a, do not drift by rounding.
        torch._foreach_lerp_(averages, values, ema_momentum(self._config, iteration))

    def load(self, average: Mapping[str, Tensor]) -> None:
        """Load a saved average of full tensors.

        Raises:
            KeyError, ValueError: it lacks a tensor, or one has another shape.
        """
        self.average = {name: shard_like(average[name], value) for name, value in self.average.items()}


@contextmanager
def averaged_weights(detector: nn.Module, ema: Ema | None) -> Iterator[None]:
    """Give the detector the averaged weights inside the block, and exactly its previous weights after it."""
    if ema is None:
        yield
        return
    weights = {name: value.detach().clone() for name, value in detector.state_dict().items()}
    detector.load_state_dict(ema.average)
    try:
        yield
    finally:
        detector.load_state_dict(weights)
