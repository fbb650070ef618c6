"""The progress of training on standard error: throughput, time left, memory, learning rate and loss, on rank 0."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self, TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress

from codetr.core.durations import format_duration
from codetr.core.text import counted
from codetr.training.reporting.heartbeat import Heartbeat

T = TypeVar("T")

HEARTBEAT_SECONDS = 30.0
"""Seconds without a line after which one says what the run is doing."""

SMOOTHING = 0.9
"""Weight of the previous mean in the running mean of a step's duration."""


class TrackValidation(Protocol):
    """Shows the progress of a validation."""

    def __call__(self, items: Iterable[T], total: int, /) -> Iterator[T]:
        """Yield what the validation gives for each of `total` images."""


class ProgressLine:
    """A line that is redrawn in a terminal, and a plain line every few seconds elsewhere."""

    def __init__(
        self,
        *,
        epochs: int,
        steps_per_epoch: int,
        images_per_step: int,
        done: int,
        device: torch.device,
        quiet: bool = False,
        every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show nothing yet; the terminal's line appears when the context is entered.

        Args:
            epochs: of the run.
            steps_per_epoch: optimiser steps of an epoch.
            images_per_step: images of an optimiser step, over all processes.
            done: optimiser steps done before this start.
            device: whose memory is shown.
            quiet: print nothing, as on all ranks but the first.
            every: seconds between plain lines.
            clock: returns the time in seconds.
        """
        self._epochs, self._steps_per_epoch, self._images_per_step = epochs, steps_per_epoch, images_per_step
        self._total, self._done, self._first = epochs * steps_per_epoch, done, done
        self._device, self._quiet, self._every = device, quiet, every
        self._clock = clock
        self._begun = self._last_step = self._printed = clock()
        self._validation_seconds = 0.0
        self._seconds_per_step: float | None = None
        self._heartbeat = Heartbeat(self.print, every=HEARTBEAT_SECONDS)
        console = Console(stderr=True, emoji=False)
        self._bar: RichProgress | None = None
        if console.is_terminal and not quiet:
            columns = (TextColumn("train"), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bar = RichProgress(*columns, console=console)
            self._task = self._bar.add_task("", total=self._total, completed=done)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        self._heartbeat.__enter__()
        self.print(
            f"train  {counted(self._total, 'step')} of {counted(self._images_per_step, 'image')} in "
            f"{counted(self._epochs, 'epoch')}, on "
            f"{self._device.type}"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._heartbeat.__exit__(kind, error, trace)
        if self._bar:
            self._bar.stop()

    @property
    def images_per_second(self) -> float:
        """Throughput of all processes over about the last ten steps; 0 before the first."""
        return self._images_per_step / self._seconds_per_step if self._seconds_per_step else 0.0

    @property
    def fraction(self) -> float:
        """The part of all steps that is done."""
        return self._done / self._total

    @property
    def seconds_left(self) -> float | None:
        """Until the last step, without validations; None before the first step."""
        return None if self._seconds_per_step is None else (self._total - self._done) * self._seconds_per_step

    @property
    def memory_gib(self) -> float:
        """Peak memory of this process in GiB."""
        return memory_gib(self._device)

    def restart_clock(self) -> None:
        """Exclude the time since the last step, a validation for instance, from the throughput."""
        self._last_step = self._clock()

    def begin(self, activity: str) -> None:
        """Note what the run does from now on, for the lines that are printed while it takes long."""
        self._heartbeat.begin(activity)

    def advance(self, *, epoch: int, loss: float, lr: float) -> None:
        """Count one optimiser step, done in `epoch` (from 0), and update the line."""
        now = self._clock()
        seconds, self._last_step = now - self._last_step, now
        mean = self._seconds_per_step
        self._seconds_per_step = seconds if mean is None else SMOOTHING * mean + (1 - SMOOTHING) * seconds
        self._done += 1
        if self._quiet:
            return
        left = format_duration((self._total - self._done) * self._seconds_per_step)
        description = (
            f"epoch {epoch + 1}/{self._epochs}  loss {loss:.3f}  lr {lr:.1e}  {self.images_per_second:.1f} img/s  "
            f"{left} left  {self.memory_gib:.1f} GiB"
        )
        if self._bar:
            self._heartbeat.heard()
            self._bar.update(self._task, completed=self._done, description=description)
        elif now - self._printed >= self._every or self._done == self._total:
            self._printed = now
            self.print(f"train  step {self._done}/{self._total}  {description}")

    def track_validation(self, items: Iterable[T], total: int) -> Iterator[T]:
        """Yield what a validation gives for each image, and show how fast it is and how long it will take."""
        begun = printed = self._clock()
        for count, item in enumerate(items, start=1):
            yield item
            now = self._clock()
            speed = count / max(now - begun, 1e-6)
            text = f"{count}/{total} images  {speed:.1f} img/s  {format_duration((total - count) / speed)} left"
            if self._bar:
                self._heartbeat.heard()
                self._bar.update(self._task, description=f"validating {text}")
            elif now - printed >= self._every and count < total:
                printed = now
                self.print(f"val    {text}")
        self._validation_seconds += self._clock() - begun

    def totals(self) -> str:
        """Return how long this start of the run took, and how fast it trained; empty if it did no step."""
        steps = self._done - self._first
        if not steps:
            return ""
        seconds = self._clock() - self._begun
        training = max(seconds - self._validation_seconds, 1e-6)
        return (
            f"{counted(steps, 'step')} in {format_duration(seconds)}: training {format_duration(training)} "
            f"({steps * self._images_per_step / training:.1f} img/s), validation "
            f"{format_duration(self._validation_seconds)}"
        )

    def print(self, line: str) -> None:
        """Print a line above the progress."""
        if self._quiet:
            return
        self._heartbeat.heard()
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            # When the process that reads the log has ended, this one still has to save its state.
            with suppress(BrokenPipeError):
                print(line, file=sys.stderr, flush=True)


def memory_gib(device: torch.device) -> float:
    """Return the peak memory of this process in GiB: GPU memory on a GPU, main memory on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux reports KiB, macOS bytes.
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20
