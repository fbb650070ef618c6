"""What a run reports: rows of the metrics file, values for the tracker, and the progress line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from codetr.core.errors import listed
from codetr.training.reporting.metrics_file import MetricsFile
from codetr.training.reporting.progress_line import ProgressLine
from codetr.training.state import MetricValues, Published, TrainingState
from codetr.training.step import StepResult

Log = Callable[[Mapping[str, float], int], None]
"""Takes values by name and the optimiser step they belong to."""

Report = Callable[[float, float | None, MetricValues], None]
"""Takes the fraction of all steps that is done, the seconds left if known, and the metrics of the last validation."""

_HEADLINE = ("AP", "AP50", "mask_AP")
"""Validation metrics that the progress line shows."""


class Reporter:
    """Reports a run on rank 0; on the other ranks every method does nothing. A context manager.

    Args:
        path: the metrics file, None on the other ranks.
        state: of the run; its metrics file is cut to the size that the state knows.
        log: takes values, a tracker's on rank 0.
        report: takes the progress after every step.
        progress: the progress line.
        epochs: of the run.
    """

    def __init__(
        self,
        path: Path | None,
        state: TrainingState,
        log: Log,
        report: Report,
        progress: ProgressLine,
        *,
        epochs: int,
    ) -> None:
        self.metrics = None if path is None else MetricsFile(path, state.metrics_size)
        self.progress = progress
        self._state, self._log, self._report, self._epochs = state, log, report, epochs

    def __enter__(self) -> Self:
        self.progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.__exit__(kind, error, trace)
        if self.metrics:
            self.metrics.close()

    def start(self, total_steps: int, warmup_steps: int, *, finished: bool) -> None:
        """Print where the run starts, and a warning if its warm-up never ends.

        Args:
            total_steps: of the run.
            warmup_steps: of its schedule.
            finished: there is nothing left to train.
        """
        if warmup_steps >= total_steps:
            self.progress.print(
                f"train  warning: the warm-up takes {warmup_steps} of {total_steps} steps, so the full learning rate "
                "is never reached: train for more epochs, or lower training.schedule.warmup_iterations"
            )
        step = self._state.position.step
        if finished:
            self.progress.print(f"train  already complete after {step} steps: publishing its model again")
        elif step:
            self.progress.print(f"train  resuming from step {step}")

    def finished(self, published: Published, stale: int) -> None:
        """Print how long training took, which weights are published and why, and whether it ended early."""
        if totals := self.progress.totals():
            self.progress.print(f"train  {totals}")
        if (epoch := self._state.position.epoch) < self._epochs:
            self.progress.print(
                f"train  ended after epoch {epoch} of {self._epochs}: the AP has not risen in {stale} validations "
                "(training.patience)"
            )
        self.progress.print(f"train  publishing step {published.step}: {published.reason}")

    def stopped(self, *, saved: bool) -> None:
        """Print that the run was stopped, after saving or while it was waiting for images that did not come."""
        step = self._state.position.step
        where = (
            f"after step {step}" if saved else f"in step {step + 1}, without its images; the last checkpoint remains"
        )
        self.progress.print(f"train  stopped {where}; run the same command again to resume")

    def step_done(self, result: StepResult, lr: float) -> None:
        """Update the progress line after an optimiser step."""
        self.progress.advance(epoch=self._state.position.epoch, loss=result.losses["total"], lr=lr)
        if self.metrics:
            self._report(self.progress.fraction, self.progress.seconds_left, self._state.validation)

    def record_step(self, result: StepResult, lr: float, losses: Mapping[str, float], *, skips_images: bool) -> None:
        """Write a row of training metrics.

        Args:
            result: of the last step.
            lr: highest learning rate of that step.
            losses: mean losses since the last row.
            skips_images: whether images that cannot be read are skipped; their number is then part of the row.
        """
        if not self.metrics:
            return
        position = self._state.position
        row = {"lr": lr, "grad_norm": result.grad_norm, **{f"loss/{name}": value for name, value in losses.items()}}
        if skips_images:
            row["replaced_images"] = self._state.bad_images.replaced
        self.metrics.append({"step": position.step, "epoch": position.epoch + 1, **row})
        # Rows are the same in every run with the same settings; what depends on the machine goes to the tracker only.
        speed = {"images_per_second": self.progress.images_per_second, "memory_gib": self.progress.memory_gib}
        self._log({**row, **speed, "epoch": position.epoch + 1}, position.step)

    def record_validation(self) -> None:
        """Write a row with the metrics of the last validation."""
        position, metrics = self._state.position, self._state.validation
        if self.metrics:
            row = {f"val/{name}": value for name, value in metrics.items()}
            self.metrics.append({"step": position.step, "epoch": position.epoch + 1, **row})
            self._log({name: value for name, value in row.items() if value is not None}, position.step)
            self._report(self.progress.fraction, self.progress.seconds_left, metrics)
        values = {name: metrics.get(name) for name in _HEADLINE}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items() if value is not None)
        self.progress.print(f"val    epoch {position.epoch + 1}/{self._epochs}  {shown or 'nothing to measure'}")

    def warn_of_losses(self, dead: Sequence[str], objects: int) -> None:
        """Print which losses have been zero so far, and what that may mean."""
        if not dead:
            return
        names = listed([f"'{name}'" for name in dead], 5)
        reason = (
            "that part of the model learns nothing so far. The anchors of 'rpn' and 'atss' may be too large for the "
            "objects (train on larger images), or a weight is zero"
            if objects
            else "there was no object on any image so far"
        )
        self.progress.print(f"train  warning: {names} has been exactly zero in every step of this epoch: {reason}")

    def warn_of_bad_images(self, new: Sequence[str]) -> None:
        """Print descriptions of images that were skipped for the first time."""
        if new:
            known, shown = len(self._state.bad_images), listed(new, 3, "; ")
            self.progress.print(f"train  warning: images that cannot be read are skipped, {known} so far, with {shown}")
