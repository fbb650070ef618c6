"""When a run is saved, what is saved, and how it is resumed."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import Tensor

from codetr.core.errors import UserError
from codetr.distributed.processes import Processes
from codetr.training.checkpoint_folder import CheckpointFolder
from codetr.training.config import CheckpointConfig
from codetr.training.reporting.metrics_file import MetricsFile
from codetr.training.state import TrainingState
from codetr.training.trained_model import TrainedModel


class Checkpointer:
    """Saves and restores a model and the state of its run. Rank 0 writes; every rank calls every method.

    Args:
        folder: the run's checkpoints, already claimed.
        model: what is saved, and what is restored into.
        processes: this process and the others.
        config: when to save within an epoch.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        model: TrainedModel,
        processes: Processes,
        config: CheckpointConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._model, self._processes, self._config = folder, model, processes, config
        self._clock, self._saved = clock, clock()

    def restore(self) -> TrainingState:
        """Load the newest sound checkpoint into the model; without one, return the state of a new run.

        Where a run is extended, the count of validations for `TrainingConfig.patience` starts again: a run that ended
        early would end at once otherwise.

        Raises:
            UserError: the checkpoint does not fit the detector, or all are damaged.
        """
        step, extends = self._processes.on_main(self._newest)
        if step is None:
            return TrainingState()
        saved = self._folder.load(step)
        try:
            self._model.load_state(saved)
            state = TrainingState.from_dict(saved)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"the checkpoint of step {step} does not fit this detector ({error})",
                where=str(self._folder.folder),
                hint="Another version of codetr may have written it; delete the folder to start from the beginning.",
            ) from None
        if extends:
            state.stale = 0
        return state

    def _newest(self) -> tuple[int | None, bool]:
        """Return the step of the newest sound checkpoint, and whether the run was extended since (rank 0)."""
        step = self._folder.newest()
        return step, step is not None and self._folder.precedes_extension(step)

    def due(self, step: int) -> bool:
        """Return whether to save after `step` optimiser steps, within an epoch; the same on every rank."""
        return self._config.every_steps is not None and step % self._config.every_steps == 0

    def overdue(self) -> bool:
        """Return whether the newest checkpoint is so old that the next step is saved; False on ranks other than 0.

        Clocks of ranks differ: the others learn it from the step.
        """
        minutes = self._config.every_minutes
        if not minutes or not self._processes.is_main:
            return False
        return self._clock() - self._saved >= minutes * 60

    def save(self, state: TrainingState, metrics: MetricsFile | None) -> None:
        """Write a checkpoint.

        Args:
            state: of the run at its current position.
            metrics: the metrics file, on rank 0; it is flushed to the disk first.

        Raises:
            ReportedError: it cannot be written.
        """
        tensors = self._model.state(keep=self._processes.is_main)

        def write() -> None:
            assert metrics is not None  # It is open on the rank that writes.
            state.metrics_size = metrics.sync()
            saved = {**tensors, **state.to_dict()}
            self._folder.save(saved, step=state.position.step, best_step=state.best_step)

        self._processes.on_main(write)
        self._saved = self._clock()

    def published_weights(self, step: int) -> dict[str, Tensor | None]:
        """Return the weights to publish from the checkpoint of `step`.

        Raises:
            UserError: it is missing or damaged.
        """
        return self._model.published_weights_of(self._folder.load(step))
