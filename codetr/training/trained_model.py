"""The tensors that training changes: a detector's weights, the optimiser's states and the averaged weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from codetr.distributed.processes import Processes
from codetr.training.config import TrainingConfig
from codetr.training.ema import Ema, averaged_weights
from codetr.training.optimizer import build_optimizer, load_optimizer_state, optimizer_state
from codetr.training.sharding import gather_full, gathered, shard, shard_like


class TrainedModel:
    """A detector with its optimiser and, if configured, the exponential moving average of its weights.

    Args:
        detector: on the device of `processes`, equal on all ranks; sharded here if the configuration says so.
        config: distribution, optimiser and average.
        processes: this process and the others.
    """

    def __init__(self, detector: nn.Module, config: TrainingConfig, processes: Processes) -> None:
        if config.distribution == "fsdp":
            shard(detector, processes)
        self.detector = detector
        self.optimizer = build_optimizer(detector, config.optimizer)
        self.ema = Ema(detector, config.ema) if config.ema else None
        self._parameters = dict(detector.named_parameters())

    def update_average(self, step: int) -> None:
        """Move the averaged weights towards the detector's after optimiser step `step` (from 0)."""
        if self.ema:
            self.ema.update(self.detector, step)

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """Give the detector the weights to validate inside the block; every rank may then run it by itself."""
        with averaged_weights(self.detector, self.ema), gathered(self.detector):
            yield self.detector

    def state(self, *, keep: bool) -> dict[str, Any]:
        """Return all tensors for a checkpoint. Every rank calls it.

        Args:
            keep: whether this rank needs them; elsewhere sharded tensors are None.
        """
        tensors = {
            "model": self.detector.state_dict(),
            "optimizer": optimizer_state(self.optimizer, self._parameters),
            "ema": self.ema.average if self.ema else None,
        }
        full: dict[str, Any] = gather_full(tensors, keep=keep)
        return full

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: it is the state of another detector.
        """
        current = self.detector.state_dict()
        weights = {name: shard_like(value, current[name]) for name, value in state["model"].items()}
        self.detector.load_state_dict(weights)
        load_optimizer_state(self.optimizer, self._parameters, state["optimizer"])
        if self.ema:
            self.ema.load(state["ema"])

    def published_weights(self, *, keep: bool) -> dict[str, Tensor | None]:
        """Return the averaged weights, or the weights themselves without an average; see `state`."""
        weights: dict[str, Tensor | None] = gather_full(
            self.ema.average if self.ema else self.detector.state_dict(), keep=keep
        )
        return weights

    def published_weights_of(self, state: Mapping[str, Any]) -> dict[str, Tensor | None]:
        """Return the weights that a checkpoint's `state` would publish."""
        weights: dict[str, Tensor | None] = state["ema"] if self.ema else state["model"]
        return weights
