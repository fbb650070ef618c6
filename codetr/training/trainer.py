"""The loop over epochs and steps: batches in, weights out, with everything that has to happen in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any, Protocol

from torch import nn

from codetr.core.errors import UserError, listed
from codetr.data.loading.unreadable import BadImage, BadImages
from codetr.distributed.processes import Processes
from codetr.distributed.signals import PreemptedError, StopRequest
from codetr.training.checkpoint import CheckpointFolder
from codetr.training.config import TrainingConfig
from codetr.training.ema import Ema, averaged_weights
from codetr.training.loss_statistics import Statistics
from codetr.training.metrics_file import MetricsFile
from codetr.training.optimizer import build_optimizer, load_optimizer_state, optimizer_state
from codetr.training.progress import Progress, memory_gib
from codetr.training.schedule import set_learning_rate
from codetr.training.sharding import gathered, like, shard, whole
from codetr.training.state import Outcome, Position
from codetr.training.step import MicroBatch, StepResult, TrainStep, use_bf16

METRICS = "metrics.jsonl"
Validate = Callable[[nn.Module], Mapping[str, float | int | None] | None]
Log = Callable[[Mapping[str, float], int], None]
TakeBadImages = Callable[[], list[BadImage]]


class Batches(Protocol):
    """What the loop needs of a training loader."""

    def __len__(self) -> int:
        """Batches of an epoch on this rank, a multiple of `accumulate`."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[MicroBatch]:
        """The batches of an epoch from batch `start` on; a function of nothing but these."""


class Trainer:
    """Trains one detector from wherever its checkpoints say it is."""

    def __init__(
        self,
        detector: nn.Module,
        batches: Batches,
        config: TrainingConfig,
        processes: Processes,
        checkpoints: CheckpointFolder,
        *,
        images_per_step: int,
        validate: Validate | None,
        log: Log,
        stop: StopRequest,
        take_bad_images: TakeBadImages | None = None,
    ) -> None:
        """Prepare optimiser, average and distribution, and take over the newest checkpoint.

        Args:
            detector: on the device of `processes`, equal on all ranks; called with an `ImageBatch`, targets and a
                normaliser it gives named losses. It is sharded if the configuration says so.
            batches: this rank's share of the training images.
            config: see `TrainingConfig`.
            processes: this process and the others.
            checkpoints: the run's folder, already claimed.
            images_per_step: images of an optimiser step over all processes, for the throughput.
            validate: measures a detector; called on every rank, its figures count on rank 0. None for no validation.
            log: takes figures and the step they belong to (a tracker's, on rank 0).
            stop: whether this process was asked to stop.
            take_bad_images: what `batches` has skipped since the last call; None if it skips nothing.

        Raises:
            UserError: the checkpoint does not fit the detector; the training split is smaller than one step.
        """
        self._batches, self._config, self._processes = batches, config, processes
        self._checkpoints, self._validate, self._log, self._stop = checkpoints, validate, log, stop
        self._take_bad_images = take_bad_images
        if len(batches) < config.accumulate:
            raise UserError(
                f"the training split gives {len(batches)} batches, one step takes {config.accumulate}",
                hint="Lower training.accumulate or loader.batch_size.",
            )
        self._schedule = config.schedule.resolved(config.epochs)
        self._steps_per_epoch = len(batches) // config.accumulate
        self._images_per_step = images_per_step
        self._detector = detector
        if config.distribution == "fsdp":
            shard(detector, processes)
        self._parameters = dict(detector.named_parameters())
        self._optimizer = build_optimizer(detector, config.optimizer)
        self._ema = Ema(detector, config.ema) if config.ema else None
        self._position = Position()
        self._statistics = Statistics()
        self._bad_images = BadImages()
        self._validation: dict[str, float | int | None] = {}
        self._best: dict[str, float] | None = None
        metrics_size = self._resume()
        self._metrics: MetricsFile | None = None
        if processes.is_main:
            self._metrics = MetricsFile(checkpoints.folder / METRICS, metrics_size)
        self._step = TrainStep(
            detector,
            self._optimizer,
            processes,
            clip_norm=config.clip_norm,
            bf16=use_bf16(config.precision, processes.device),
            seed=config.seed,
        )

    def run(self) -> Outcome:
        """Train to the end.

        Raises:
            PreemptedError: asked to stop by a signal; a checkpoint is saved.
            UserError: training cannot go on: a loss is not finite, or stays zero.
        """
        try:
            with Progress(
                epochs=self._config.epochs,
                steps_per_epoch=self._steps_per_epoch,
                images_per_step=self._images_per_step,
                done=self._position.step,
                device=self._processes.device,
                quiet=not self._processes.is_main,
            ) as progress:
                total, warmup = self._config.epochs * self._steps_per_epoch, self._schedule.warmup_iterations
                if warmup >= total:
                    progress.say(
                        f"train  warning: the warm-up takes {warmup} of {total} steps, so the full learning rate is "
                        "never reached: train for more epochs, or lower training.schedule.warmup_iterations"
                    )
                if self._position.step:
                    progress.say(f"train  goes on after step {self._position.step}, as if it had not stopped")
                while self._position.epoch < self._config.epochs:
                    self._train_epoch(progress)
                    self._end_epoch(progress)
            return self._outcome()
        finally:
            if self._metrics:
                self._metrics.close()

    def _train_epoch(self, progress: Progress) -> None:
        """Train from the present position to the end of its epoch."""
        position, config = self._position, self._config
        self._detector.train()
        stream = self._batches.epoch(position.epoch, position.batch)
        progress.restart_clock()
        while position.batch < self._steps_per_epoch * config.accumulate:
            lr = set_learning_rate(self._optimizer, self._schedule, step=position.step, epoch=position.epoch)
            micro_batches = list(islice(stream, config.accumulate))
            if len(micro_batches) != config.accumulate:
                raise RuntimeError(f"the loader ended early, at batch {position.batch + len(micro_batches)}")
            result = self._step(micro_batches, step=position.step, stop=self._stop.received)
            if self._ema:
                self._ema.update(self._detector, position.step)
            self._statistics.add(result.losses, untrained=position.step == 0)
            position.step += 1
            position.batch += config.accumulate
            progress.advance(epoch=position.epoch, loss=result.losses["total"], lr=lr)
            if position.step % config.log_every == 0:
                self._record_step(result, lr, progress)
            every = config.checkpoint.every_steps
            if result.stop or (every and position.step % every == 0):
                self._save(progress)
                progress.restart_clock()
            if result.stop:
                progress.say(f"train  stopped after step {position.step}; start again to go on")
                raise PreemptedError

    def _end_epoch(self, progress: Progress) -> None:
        """Check, validate and save after an epoch."""
        position, config = self._position, self._config
        self._statistics.end_epoch(position.epoch)
        last = position.epoch + 1 == config.epochs
        if config.validate_every and (last or (position.epoch + 1) % config.validate_every == 0):
            # Validation is long: being stopped in it must not cost the epoch.
            self._save(progress)
            self._run_validation(progress)
        position.epoch += 1
        position.batch = 0
        self._save(progress)

    def _run_validation(self, progress: Progress) -> None:
        if self._validate is None:
            return
        with averaged_weights(self._detector, self._ema), gathered(self._detector):
            figures = self._processes.broadcast(self._validate(self._detector))
        self._validation = dict(figures or {})
        average_precision = self._validation.get("AP")
        position = self._position
        if average_precision is not None and (self._best is None or average_precision > self._best["AP"]):
            self._best = {"step": position.step, "epoch": position.epoch + 1, "AP": average_precision}
        if self._metrics:
            named = {f"val/{name}": value for name, value in self._validation.items()}
            self._metrics.append({"step": position.step, "epoch": position.epoch + 1, **named})
            self._log({name: value for name, value in named.items() if value is not None}, position.step)
        headline = {name: self._validation.get(name) for name in ("AP", "AP50", "mask_AP")}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in headline.items() if value is not None)
        progress.say(f"val    epoch {position.epoch + 1}/{self._config.epochs}  {shown or 'nothing to measure'}")

    def _record_step(self, result: StepResult, lr: float, progress: Progress) -> None:
        """Write the mean losses since the last record."""
        means = self._statistics.take_means()
        self._count_bad_images(progress)
        if not self._metrics:
            return
        position = self._position
        named = {f"loss/{name}": value for name, value in means.items()}
        row = {"lr": lr, "grad_norm": result.grad_norm, **named}
        if self._take_bad_images:
            row["replaced_images"] = self._bad_images.replaced
        self._metrics.append({"step": position.step, "epoch": position.epoch + 1, **row})
        speed = {"images_per_second": progress.images_per_second, "memory_gib": memory_gib(self._processes.device)}
        self._log({**row, **speed, "epoch": position.epoch + 1}, position.step)

    def _count_bad_images(self, progress: Progress) -> None:
        """Add what every rank has skipped since the last time; new ones are shown."""
        if self._take_bad_images is None:
            return
        found = [image for part in self._processes.gather(self._take_bad_images()) for image in part]
        if new := self._bad_images.add(found):
            known, shown = len(self._bad_images), listed(new, 3, "; ")
            progress.say(f"train  warning: images that cannot be read are skipped, {known} by now, with {shown}")

    def _save(self, progress: Progress) -> None:
        """Write a checkpoint of the present position on rank 0; the others wait, and end with it if it cannot."""
        self._count_bad_images(progress)
        tensors = {
            "model": self._detector.state_dict(),
            "optimizer": optimizer_state(self._optimizer, self._parameters),
            "ema": self._ema.average if self._ema else None,
        }
        tensors = whole(tensors, wanted=self._processes.is_main)
        self._processes.on_main(lambda: self._write_checkpoint(tensors))

    def _write_checkpoint(self, tensors: Mapping[str, Any]) -> None:
        assert self._metrics is not None
        state = {
            **tensors,
            "position": asdict(self._position),
            "statistics": self._statistics.state(),
            "bad_images": self._bad_images.state(),
            "validation": self._validation,
            "best": self._best,
            "metrics_size": self._metrics.sync(),
        }
        best_step = int(self._best["step"]) if self._best else None
        self._checkpoints.save(state, step=self._position.step, best_step=best_step)

    def _resume(self) -> int:
        """Take over the newest sound checkpoint, if there is one; returns the size of the metrics file then."""
        step = self._processes.on_main(self._checkpoints.newest)
        if step is None:
            return 0
        state = self._checkpoints.load(step)
        try:
            own = self._detector.state_dict()
            self._detector.load_state_dict({name: like(value, own[name]) for name, value in state["model"].items()})
            load_optimizer_state(self._optimizer, self._parameters, state["optimizer"])
            if self._ema:
                self._ema.load(state["ema"])
            self._position = Position(**state["position"])
            self._statistics = Statistics(state["statistics"])
            self._bad_images = BadImages(state.get("bad_images"))
            self._validation, self._best = state["validation"], state["best"]
            return int(state["metrics_size"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"the checkpoint of step {step} does not fit this detector ({error})",
                where=str(self._checkpoints.folder),
                hint="It may be of another version of codetr; delete the folder to start from the beginning.",
            ) from None

    def _outcome(self) -> Outcome:
        """Choose the weights to publish."""
        state = whole(self._ema.average if self._ema else self._detector.state_dict(), wanted=self._processes.is_main)
        published = self._position.step
        if self._config.publish == "best" and self._best and int(self._best["step"]) != published:
            published = int(self._best["step"])
            saved: dict[str, Any] = self._checkpoints.load(published)
            state = saved["ema"] if self._ema else saved["model"]
        return Outcome(
            {name: value.detach().clone() for name, value in state.items() if value is not None},
            self._position.step,
            published,
            self._validation,
            self._best,
            self._bad_images if self._take_bad_images or len(self._bad_images) else None,
        )
