"""The state of a training run without its tensors, and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

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
        best: {"step", "epoch", "AP"} of the best validation so far, or None.
        metrics_size: size of the metrics file in bytes at the last checkpoint.
    """

    position: Position = field(default_factory=Position)
    statistics: LossStatistics = field(default_factory=LossStatistics)
    bad_images: BadImages = field(default_factory=BadImages)
    validation: dict[str, float | int | None] = field(default_factory=dict)
    best: dict[str, float] | None = None
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
            "metrics_size": self.metrics_size,
        }

    @property
    def best_step(self) -> int | None:
        """Step of the best validation so far."""
        return int(self.best["step"]) if self.best else None

    def record_validation(self, metrics: MetricValues) -> None:
        """Keep the metrics of a validation at the current position, as the best if its AP is the highest so far."""
        self.validation = dict(metrics)
        average_precision = metrics.get("AP")
        if average_precision is not None and (self.best is None or average_precision > self.best["AP"]):
            self.best = {"step": self.position.step, "epoch": self.position.epoch + 1, "AP": average_precision}


@dataclass(frozen=True)
class Outcome:
    """The result of a finished run.

    Attributes:
        weights: the weights to publish, by name; on rank 0 only if they are sharded.
        steps: optimiser steps done.
        published_step: the step that `weights` are from.
        validation: metrics of the last validation; empty without validation.
        best: {"step", "epoch", "AP"} of the best validation, or None.
        bad_images: images that were skipped over the whole run, by all processes; None if none were and none may be.
    """

    weights: dict[str, Tensor]
    steps: int
    published_step: int
    validation: dict[str, float | int | None]
    best: dict[str, float] | None
    bad_images: BadImages | None = None
