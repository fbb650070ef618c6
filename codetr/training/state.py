"""The state of a training run without its tensors, and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from torch import Tensor

from codetr.data.loading.unreadable import BadImages
from codetr.training.loss_statistics import LossStatistics

MetricValues = Mapping[str, float | int | None]
"""Validation metrics by name; None where a metric is undefined."""


@dataclass
class Position:
    """How far a run is.

    Attributes:
        epoch: the current epoch, from 0.
        batch: micro-batches of it that this rank has taken.
        step: optimiser steps done since the start of the run.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0

    def next_step(self, batches: int) -> None:
        """Advance by one optimiser step over that many micro-batches."""
        self.step += 1
        self.batch += batches

    def next_epoch(self) -> None:
        """Advance to the start of the next epoch."""
        self.epoch += 1
        self.batch = 0


@dataclass
class TrainingState:
    """Everything that a checkpoint holds in addition to tensors.

    Attributes:
        position: how far the run is.
        statistics: losses since the last row of metrics and over the current epoch.
        bad_images: images that were skipped so far, by all processes.
        validation: metrics of the last validation; empty before the first.
        best: {"step", "epoch", "AP"} of the best validation so far, the latest of equal ones, or None.
        best_validation: metrics of the best validation; empty before the first.
        stale: validations since the AP last rose.
        metrics_size: size of the metrics file in bytes at the last checkpoint.
    """

    position: Position = field(default_factory=Position)
    statistics: LossStatistics = field(default_factory=LossStatistics)
    bad_images: BadImages = field(default_factory=BadImages)
    validation: dict[str, float | int | None] = field(default_factory=dict)
    best: dict[str, float] | None = None
    best_validation: dict[str, float | int | None] = field(default_factory=dict)
    stale: int = 0
    metrics_size: int = 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` returned.

        Raises:
            KeyError, TypeError: a value is missing or has another form.
        """
        return cls(
            Position(**values["position"]),
            LossStatistics(values["statistics"]),
            BadImages(values.get("bad_images")),
            values["validation"],
            values["best"],
            values["best_validation"],
            int(values["stale"]),
            int(values["metrics_size"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {
            "position": asdict(self.position),
            "statistics": self.statistics.state(),
            "bad_images": self.bad_images.state(),
            "validation": self.validation,
            "best": self.best,
            "best_validation": self.best_validation,
            "stale": self.stale,
            "metrics_size": self.metrics_size,
        }

    @property
    def best_step(self) -> int | None:
        """Step of the best validation so far."""
        return int(self.best["step"]) if self.best else None

    def record_validation(self, metrics: MetricValues) -> None:
        """Keep the metrics of a validation at the current position, as the best if no AP before was higher."""
        self.validation = dict(metrics)
        average_precision, highest = metrics.get("AP"), self.best["AP"] if self.best else -1.0
        self.stale = 0 if average_precision is not None and average_precision > highest else self.stale + 1
        # Of equal ones the later was trained longer: with an AP of 0 in every epoch that is the last.
        if average_precision is not None and average_precision >= highest:
            self.best = {"step": self.position.step, "epoch": self.position.epoch + 1, "AP": average_precision}
            self.best_validation = self.validation


@dataclass(frozen=True)
class Published:
    """Which weights of a run are published, and why.

    Attributes:
        step: optimiser steps after which they were taken.
        epoch: the epoch that ended then, from 1.
        reason: a sentence.
        validation: their metrics on the val split; empty if they were not validated.
    """

    step: int
    epoch: int
    reason: str
    validation: dict[str, float | int | None]

    @classmethod
    def of(cls, state: TrainingState, publish: Literal["last", "best"]) -> Published:
        """Choose between the last and the best weights of a finished run."""
        position, best = state.position, state.best
        if publish == "best" and best is not None:
            epoch, highest = int(best["epoch"]), best["AP"]
            reason = f"epoch {epoch} of {position.epoch} has the highest AP on the split val, {highest:.4f}"
            if epoch < position.epoch:
                reason += f" (the last one: {_figure(state.validation)})"
            optimistic = "val chose it, so the AP on val is optimistic"
            reason += f"; {optimistic if highest > 0 else 'nothing was detected: train longer'}"
            return cls(int(best["step"]), epoch, reason, state.best_validation)
        reason = f"epoch {position.epoch} is the last one"
        if best is not None and best["epoch"] < position.epoch:
            reason += (
                f", AP {_figure(state.validation)} on the split val, with training.publish=last (the best one: epoch "
                f"{int(best['epoch'])}, {best['AP']:.4f})"
            )
        return cls(position.step, position.epoch, reason, state.validation)


def _figure(metrics: MetricValues) -> str:
    value = metrics.get("AP")
    return "none" if value is None else f"{value:.4f}"


@dataclass(frozen=True)
class Outcome:
    """The result of a finished run.

    Attributes:
        weights: the weights to publish, by name; on rank 0 only if they are sharded.
        steps: optimiser steps done.
        published: where `weights` are from, and why.
        best: {"step", "epoch", "AP"} of the best validation, or None.
        bad_images: images that were skipped over the whole run, by all processes; None if none were and none may be.
    """

    weights: dict[str, Tensor]
    steps: int
    published: Published
    best: dict[str, float] | None
    bad_images: BadImages | None = None
