"""Warn, during the first step already, that the steps of a recipe take very long on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import nn

from codetr.core.durations import describe_duration

SLOW_STEP = 60.0
"""Seconds of a step from which on a warning is printed."""


class StepEstimate:
    """Measures the first forward pass of a detector, and estimates from it how long a step takes.

    A backward pass takes about twice as long as the forward pass. With several micro-batches all of them run forward
    once more, to count.

    Args:
        detector: called in training.
        micro_batches: of a step.
        steps: left to do.
        say: prints a line.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        detector: nn.Module,
        *,
        micro_batches: int,
        steps: int,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._passes = 3 if micro_batches == 1 else 4 * micro_batches
        self._steps, self._say, self._clock = steps, say, clock
        self._start = 0.0
        self._handles = [
            detector.register_forward_pre_hook(lambda *_: self._begin()),
            detector.register_forward_hook(lambda *_: self._end()),
        ]

    def _begin(self) -> None:
        self._start = self._clock()

    def _end(self) -> None:
        for handle in self._handles:
            handle.remove()
        seconds = self._passes * (self._clock() - self._start)
        if seconds >= SLOW_STEP:
            self._say(
                f"train  warning: a step of this recipe takes about {describe_duration(seconds)} on this CPU, the "
                f"{self._steps} steps of this run about {describe_duration(seconds * self._steps)}: train on a GPU, a "
                "smaller recipe (codetr zoo), smaller images, or with fewer images a step"
            )
