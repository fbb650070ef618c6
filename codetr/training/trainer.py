"""The training loop: epochs of optimiser steps, with validation, checkpoints and reports in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from torch import nn

from codetr.core.errors import UserError
from codetr.core.system.heap import release_free_memory
from codetr.data.loading.unreadable import BadImage
from codetr.distributed.processes import Processes
from codetr.distributed.signals import PreemptedError, StoppedWaitingError, StopRequest
from codetr.training.checkpoint_folder import CheckpointFolder
from codetr.training.checkpointer import Checkpointer
from codetr.training.config import TrainingConfig
from codetr.training.reporting.metrics_file import METRICS
from codetr.training.reporting.progress_line import ProgressLine, TrackValidation
from codetr.training.reporting.reporter import Log, Report, Reporter
from codetr.training.reporting.step_estimate import StepEstimate
from codetr.training.schedule import describe_lr, set_learning_rate
from codetr.training.state import MetricValues, Outcome, Published
from codetr.training.step import MicroBatch, TrainStep, use_bf16
from codetr.training.trained_model import TrainedModel

RELEASE_EVERY = 10
"""Optimiser steps after which freed memory is given back to the system."""

LOAD_PATIENCE = 15.0
"""Seconds that one of several processes may still wait for images after a request to stop. When they arrive, all save
together after the step; torchrun kills them after 30 seconds by default."""

Validate = Callable[[nn.Module, TrackValidation], MetricValues | None]
"""Measures a detector, and shows its progress. Every rank calls it; the metrics are those that rank 0 returns."""


class Batches(Protocol):
    """This rank's share of the training images."""

    @property
    def images_per_step(self) -> int:
        """Images of an optimiser step, over all processes."""

    @property
    def skips_bad_images(self) -> bool:
        """Whether images that cannot be read are skipped."""

    def __len__(self) -> int:
        """Return the micro-batches of an epoch, a multiple of `TrainingConfig.accumulate`."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[MicroBatch]:
        """Load the micro-batches of an epoch from `start` on; they depend on nothing but the arguments."""

    def take_bad_images(self, before: int) -> list[BadImage]:
        """Return the images that were skipped in the micro-batches before `before` of the epoch, each one once."""


def _ignore(done: float, seconds_left: float | None, metrics: MetricValues) -> None:
    """Take the progress where nothing shows it."""


@dataclass(frozen=True)
class Hooks:
    """What the training loop asks of its surroundings.

    Attributes:
        stop: whether this process was asked to stop.
        log: takes values for a tracker.
        validate: measures the detector; None for no validation.
        report: takes the progress after every step, on rank 0.
    """

    stop: StopRequest
    log: Log
    validate: Validate | None = None
    report: Report = _ignore


class Trainer:
    """Trains one detector, from the newest checkpoint of its run if there is one."""

    def __init__(
        self,
        detector: nn.Module,
        batches: Batches,
        config: TrainingConfig,
        processes: Processes,
        checkpoints: CheckpointFolder,
        hooks: Hooks,
    ) -> None:
        """Build the optimiser and the average, distribute the detector, and restore the newest checkpoint.

        Args:
            detector: on the device of `processes`, equal on all ranks; called with an `ImageBatch`, targets and a
                normaliser it returns named losses. It is sharded if the configuration says so.
            batches: this rank's share of the training images.
            config: see `TrainingConfig`.
            processes: this process and the others.
            checkpoints: the run's folder, already claimed.
            hooks: validation, tracking and the request to stop.

        Raises:
            UserError: the checkpoint does not fit the detector; the training split is smaller than one step.
        """
        if len(batches) < config.accumulate:
            raise UserError(
                f"the training split gives {len(batches)} batches, one step takes {config.accumulate}",
                hint="Lower training.accumulate or loader.batch_size.",
            )
        self._batches, self._processes, self._hooks = batches, processes, hooks
        optimizer = config.optimizer.for_images(batches.images_per_step)
        self._lr_note = describe_lr(config.optimizer, optimizer, batches.images_per_step)
        self._config = config = config.model_copy(update={"optimizer": optimizer})
        self._schedule = config.schedule.resolved(config.epochs)
        self._steps_per_epoch = len(batches) // config.accumulate
        self._model = TrainedModel(detector, config, processes)
        self._checkpointer = Checkpointer(checkpoints, self._model, processes, config.checkpoint)
        self._state = self._checkpointer.restore()
        progress = ProgressLine(
            epochs=config.epochs,
            steps_per_epoch=self._steps_per_epoch,
            images_per_step=batches.images_per_step,
            done=self._state.position.step,
            device=processes.device,
            quiet=not processes.is_main,
        )
        path = checkpoints.folder / METRICS if processes.is_main else None
        self._reporter = Reporter(path, self._state, hooks.log, hooks.report, progress, epochs=config.epochs)
        self._step = TrainStep(
            detector,
            self._model.optimizer,
            processes,
            clip_norm=config.clip_norm,
            bf16=use_bf16(config.precision, processes.device),
            seed=config.seed,
        )

    def run(self) -> Outcome:
        """Train to the end.

        Raises:
            PreemptedError: asked to stop by a signal; a checkpoint is saved.
            UserError: training cannot continue: a loss is not finite, or those of all boxes stay zero.
        """
        self._hooks.stop.saves = True
        with self._reporter:
            total = self._config.epochs * self._steps_per_epoch
            self._reporter.start(total, self._schedule.warmup_iterations, finished=self._finished)
            if self._lr_note and not self._finished:
                self._reporter.progress.print(f"train  {self._lr_note}")
            if self._processes.device.type == "cpu":
                StepEstimate(
                    self._model.detector,
                    micro_batches=self._config.accumulate,
                    steps=total - self._state.position.step,
                    say=self._reporter.progress.print,
                )
            while not self._finished:
                self._train_epoch()
                self._end_epoch()
            outcome = self._outcome()
            self._reporter.finished(outcome.published, self._state.stale)
        return outcome

    def _train_epoch(self) -> None:
        """Train from the current position to the end of its epoch."""
        position, config = self._state.position, self._config
        self._model.detector.train()
        batches = self._batches.epoch(position.epoch, position.batch)
        self._reporter.progress.restart_clock()
        while position.batch < self._steps_per_epoch * config.accumulate:
            lr = set_learning_rate(self._model.optimizer, self._schedule, step=position.step, epoch=position.epoch)
            self._reporter.progress.begin(f"waiting for the images of step {position.step + 1}")
            micro_batches = self._load(batches)
            self._reporter.progress.begin(f"step {position.step + 1}")
            stop, save = self._hooks.stop.received, self._checkpointer.overdue()
            result = self._step(micro_batches, step=position.step, stop=stop, save=save)
            self._model.update_average(position.step)
            objects = sum(len(target.labels) for _, targets in micro_batches for target in targets)
            self._state.statistics.add(result.losses, objects=objects, untrained=position.step == 0)
            position.next_step(config.accumulate)
            self._reporter.step_done(result, lr)
            if position.step % RELEASE_EVERY == 0:
                release_free_memory()
            if self._state.statistics.early:
                self._examine_losses()
            if position.step % config.log_every == 0:
                losses = self._state.statistics.take_means()
                self._collect_bad_images()
                self._reporter.record_step(result, lr, losses, skips_images=self._batches.skips_bad_images)
            if result.stop or result.save or self._checkpointer.due(position.step):
                self._save()
                self._reporter.progress.restart_clock()
            if result.stop:
                self._reporter.stopped(saved=True)
                raise PreemptedError

    def _load(self, batches: Iterator[MicroBatch]) -> list[MicroBatch]:
        """Return the micro-batches of a step; a request to stop ends the wait for them."""
        alone, accumulate = self._processes.world_size == 1, self._config.accumulate
        try:
            with self._hooks.stop.interrupts(after=0.0 if alone else LOAD_PATIENCE):
                micro_batches = list(islice(batches, accumulate))
        except StoppedWaitingError:
            # The other ranks wait in the step for this one, so they cannot save with it.
            if alone:
                self._save()
            self._reporter.stopped(saved=alone)
            raise PreemptedError from None
        if len(micro_batches) != accumulate:
            raise RuntimeError(f"the loader ended early, at batch {self._state.position.batch + len(micro_batches)}")
        return micro_batches

    def _end_epoch(self) -> None:
        """Check the losses, validate if it is time, and save."""
        position, config = self._state.position, self._config
        self._collect_bad_images()
        self._examine_losses()
        self._state.statistics.end_epoch()
        last = position.epoch + 1 == config.epochs
        if config.validate_every and (last or (position.epoch + 1) % config.validate_every == 0):
            # Validation takes long: a run that is stopped during it must not lose the epoch.
            self._save()
            self._validate()
        position.next_epoch()
        self._save()

    def _examine_losses(self) -> None:
        statistics = self._state.statistics
        objects = sum(self._processes.gather(statistics.objects))
        self._reporter.warn_of_losses(statistics.examine(objects), objects)

    def _validate(self) -> None:
        if self._hooks.validate is None:
            return
        self._reporter.progress.begin(f"validation after epoch {self._state.position.epoch + 1}")
        with self._model.averaged() as detector:
            try:
                with self._hooks.stop.interrupts():
                    measured = self._hooks.validate(detector, self._reporter.progress.track_validation)
            except StoppedWaitingError:
                self._reporter.stopped(saved=True)
                raise PreemptedError from None
            metrics = self._processes.broadcast(measured)
        self._state.record_validation(metrics or {})
        self._reporter.record_validation()

    def _save(self) -> None:
        self._reporter.progress.begin("writing a checkpoint")
        self._collect_bad_images()
        self._checkpointer.save(self._state, self._reporter.metrics)

    def _collect_bad_images(self) -> None:
        """Add the images that any rank has skipped since the last call."""
        if self._batches.skips_bad_images:
            local = self._batches.take_bad_images(self._state.position.batch)
            found = [image for images in self._processes.gather(local) for image in images]
            self._reporter.warn_of_bad_images(self._state.bad_images.add(found))

    @property
    def _finished(self) -> bool:
        """Whether all epochs are done, or the AP has not risen for `patience` validations."""
        state, config = self._state, self._config
        return state.position.epoch >= config.epochs or (config.patience is not None and state.stale >= config.patience)

    def _outcome(self) -> Outcome:
        """Select the weights to publish."""
        state = self._state
        published = Published.of(state, self._config.publish)
        if published.step == state.position.step:
            weights = self._model.published_weights(keep=self._processes.is_main)
        else:
            weights = self._checkpointer.published_weights(published.step)
        return Outcome(
            {name: value.detach().clone() for name, value in weights.items() if value is not None},
            state.position.step,
            published,
            state.best,
            state.bad_images if self._batches.skips_bad_images or len(state.bad_images) else None,
        )
