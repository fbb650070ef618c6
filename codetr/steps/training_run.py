"""One training run: its identity, its training from folder to outcome, and the publication of its model."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codetr.core.errors import RunFailed, UserError, first_line, listed
from codetr.core.files import atomic_directory, read_json, write_json
from codetr.core.manifest import NAME as MANIFEST
from codetr.core.manifest import Manifest
from codetr.core.settings import without
from codetr.core.text import counted
from codetr.data.dataset.split import Split
from codetr.data.loading.loader import TrainLoader
from codetr.data.loading.preflight import require_resources
from codetr.data.loading.samplers import images_per_class
from codetr.distributed.devices import is_out_of_memory
from codetr.distributed.processes import Processes
from codetr.distributed.signals import StopRequest
from codetr.evaluation.evaluate import validate
from codetr.models.config import MEMORY_SETTINGS
from codetr.models.detector import CoDETR
from codetr.steps.result_key import ResultKey
from codetr.tracking.trainjob_status import TrainJobStatus
from codetr.training.batch_size import LESS_MEMORY
from codetr.training.checkpoint_folder import CheckpointFolder, differences
from codetr.training.reporting.metrics_file import METRICS
from codetr.training.reporting.progress_line import TrackValidation
from codetr.training.reporting.reporter import Log
from codetr.training.state import MetricValues, Outcome
from codetr.training.trainer import Hooks, Trainer
from codetr.weights.fine_tuning import TransferReport
from codetr.weights.model_folder import SUMMARY, ModelInfo, save_model
from codetr.zoo.recipe import Recipe

BATCH_SIZE = "loader.batch_size"

RESULT_KEY = "result_key.json"
"""File in the folder of checkpoints with the key of the result, as it was when the run began."""

EPOCHS = "recipe.training.epochs"
EXTENDABLE = (EPOCHS, "recipe.training.schedule", "recipe.training.patience")
"""What may differ in the identity of a run that is extended."""

_RESUMABLE_SETTINGS = (
    "description",
    "training.checkpoint",
    "training.distribution",
    "loader.workers",
    "loader.prefetch",
    "loader.bad_images",
    *(f"model.{setting}" for setting in MEMORY_SETTINGS),
)
"""Settings of a recipe that may change when a run is resumed, since the result does not depend on them."""


@dataclass(frozen=True)
class TrainingRun:
    """What a training run computes, from what, and where.

    Attributes:
        recipe: with the dataset's number of classes.
        inputs: digests of the dataset's manifest and, if there are any, of the weights it starts from.
        dataset: folder of the dataset.
        output: folder to publish the model in.
        checkpoints: folder of this run alone.
        group: this process and the others.
        transfer: what was transferred from the detector that `recipe.init_from` names.
    """

    recipe: Recipe
    inputs: dict[str, str]
    dataset: Path
    output: Path
    checkpoints: Path
    group: Processes
    transfer: TransferReport | None

    @property
    def folder(self) -> CheckpointFolder:
        """The run's checkpoints."""
        return CheckpointFolder(self.checkpoints, keep=self.recipe.training.checkpoint.keep)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON values.

        A run may be resumed with other values of settings that do not: the interval of checkpoints, the number of
        loader processes, what is recomputed to save memory, and, but for rounding, how processes share the work.
        """
        return _identity(self.inputs, self.group.world_size, self.recipe.model_dump(mode="json"))

    def result_key(self, *, processes: int, device: str) -> ResultKey:
        """Return the key of the model in the store of results.

        It has what the identity has, and the sharding, which changes the rounding. The weights to start from count by
        their digests in `inputs`, wherever they are.

        Args:
            processes: of the training.
            device: type of its devices, e.g. "cuda".
        """
        recipe = without(self.recipe.model_dump(mode="json"), (*_RESUMABLE_SETTINGS, "init_from", "backbone_weights"))
        settings = {
            "processes": processes,
            "recipe": recipe,
            "distribution": self.recipe.training.distribution,
        }
        return ResultKey.of_step("model", "codetr.steps.train", inputs=self.inputs, settings=settings, device=device)

    def begins_with(self, key: str) -> bool:
        """Record the key with which the run begins; return whether a run that is resumed began with this one (rank 0).

        Args:
            key: digest of the key of its result.
        """
        path = self.checkpoints / RESULT_KEY
        if not self.folder.steps():
            write_json(path, {"key": key})
            return True
        try:
            return bool(read_json(path) == {"key": key})
        except UserError:
            return False

    def recorded_batch_size(self) -> int | None:
        """Return the batch size of this run, which differs in nothing else, as an earlier start has chosen it (rank 0).

        None if neither `checkpoints` nor `output` is of such a run.
        """
        recorded = [self.folder.identity()]
        if (self.output / MANIFEST).is_file():
            recorded.append(published_identity(Manifest.read(self.output, "model")))
        for identity in recorded:
            if identity is not None and _any_batch_size(identity) == _any_batch_size(self.identity):
                return int(identity["recipe"]["loader"]["batch_size"])
        return None

    def extend(self) -> None:
        """Continue the run in `checkpoints` with more epochs (rank 0).

        Raises:
            UserError: see `CheckpointFolder.extend`; or there are not more epochs.
        """
        earlier = self.folder.identity()
        before = 0 if earlier is None else int(earlier["recipe"]["training"]["epochs"])
        epochs = self.recipe.training.epochs
        if earlier != self.identity and epochs <= before:
            hint = f"Set it to more than {before}: --extend trains the same run further."
            raise UserError(
                f"a run of {counted(before, 'epoch')} cannot be extended to {epochs}",
                where="training.epochs",
                hint=hint,
            )
        self.folder.extend(self.identity, EXTENDABLE)

    def is_published(self, *, overwrite: bool, extend: bool = False) -> bool:
        """Return whether `output` holds the model of this very run, intact (rank 0).

        Args:
            overwrite: accept that `output` holds another model.
            extend: accept that it holds the model of this run with fewer epochs.

        Raises:
            UserError: it does, and that is not accepted.
        """
        if not (self.output / MANIFEST).is_file():
            return False
        earlier = Manifest.read(self.output, "model")
        found = published_identity(earlier)
        changes = differences(found, self.identity)
        extends = without(found, EXTENDABLE) == without(self.identity, EXTENDABLE)
        if changes and not overwrite and not (extend and extends):
            further = ", --extend to train its run further" if extends else ""
            raise UserError(
                f"holds the model of another run ({listed(changes, 5, '; ')})",
                where=str(self.output),
                hint=f"Give another output folder{further}, or --overwrite to replace that model.",
            )
        try:
            earlier.verify(self.output)
        except UserError:
            return False
        return not changes

    def train(
        self, detector: CoDETR, split: Split, stop: StopRequest, log: Log, status: TrainJobStatus | None = None
    ) -> Outcome:
        """Train to the end, from the newest checkpoint if there is one.

        Args:
            detector: see `Trainer`.
            split: the training split.
            stop: whether this process was asked to stop.
            log: takes values for a tracker.
            status: of the job on the cluster, on rank 0; None for no job that shows it.

        Raises:
            RunFailed: the memory of the GPU does not suffice.
        """
        recipe, training = self.recipe, self.recipe.training
        if detector.federated is not None:
            counts = torch.from_numpy(images_per_class(split))
            detector.federated.images_per_class = counts.to(self.group.device)
        val = Split.open(self.dataset, "val") if training.validate_every else None
        # The processes of the training loader wait while those of the validation run.
        require_resources(recipe.loader.workers, loaders=1 if val is None else 2)
        batches = TrainLoader(
            split,
            recipe.augment,
            recipe.preprocess,
            recipe.loader,
            seed=training.seed,
            rank=self.group.rank,
            world_size=self.group.world_size,
            accumulate=training.accumulate,
            with_masks=recipe.model.needs_masks,
        )
        hooks = Hooks(stop, log, partial(self._validate, val) if val else None)
        if status is not None:
            hooks = replace(hooks, report=status.report)
        try:
            return Trainer(detector, batches, training, self.group, self.folder, hooks).run()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            images = counted(int(recipe.loader.batch_size), "image")  # "auto" is a number by now
            problem = f"memory of the GPU ran out with {images} in a batch: {first_line(error)}"
            raise RunFailed(problem, where="training stopped", hint=LESS_MEMORY) from None

    def _validate(self, split: Split, detector: nn.Module, track: TrackValidation) -> MetricValues | None:
        """Return the metrics of `detector` on `split`, on rank 0."""
        assert isinstance(detector, CoDETR)
        measured = validate(
            detector,
            self._info(split),
            split,
            group=self.group,
            # As `evaluate` does by default: padding in a batch would change the metrics.
            batch_size=1,
            workers=self.recipe.loader.workers,
            work=self.checkpoints / "validation",
            track=track,
        )
        return None if measured is None else measured.flat

    def _info(self, split: Split) -> ModelInfo:
        recipe = self.recipe
        return ModelInfo(
            recipe=recipe.name,
            class_names=tuple(split.names),
            model=recipe.model,
            preprocess=recipe.preprocess,
            range_16bit=split.range_16bit,
        )

    def publish(self, split: Split, outcome: Outcome, code: Mapping[str, str]) -> None:
        """Write the model folder atomically, and mark the run as finished (rank 0).

        Args:
            split: the training split.
            outcome: of `train`.
            code: identifies the code of the step, for the manifest.
        """
        reason = outcome.published.reason
        with atomic_directory(self.output) as folder:
            digest = save_model(folder, outcome.weights, self._info(split))
            shutil.copyfile(self.checkpoints / METRICS, folder / METRICS)
            summary = {
                "weights": digest,
                "steps": outcome.steps,
                "published": {"step": outcome.published.step, "epoch": outcome.published.epoch, "reason": reason},
                "images": len(split),
                "processes": self.group.world_size,
                "validation": outcome.published.validation,
                "best": outcome.best,
            }
            skipped = {} if outcome.bad_images is None else {"bad_images": outcome.bad_images.to_json()}
            summary |= skipped
            if self.transfer is not None:
                summary["init_from"] = self.transfer.to_json()
            write_json(folder / SUMMARY, summary)
            config = {"recipe": self.recipe.model_dump(mode="json"), "processes": self.group.world_size}
            if epochs := [identity["recipe"]["training"]["epochs"] for identity in self.folder.extended()]:
                config["extended_from_epochs"] = epochs
            Manifest.of(
                folder,
                "model",
                inputs=self.inputs,
                code=code,
                config=config,
                summary={"steps": outcome.steps, "published": reason, **outcome.published.validation, **skipped},
            ).write(folder)
        self.folder.finish()


def published_identity(manifest: Manifest) -> dict[str, Any]:
    """Return the identity of the run that published a model, from the model's manifest."""
    return _identity(manifest.inputs, manifest.config.get("processes"), manifest.config.get("recipe") or {})


def _any_batch_size(identity: Mapping[str, Any]) -> dict[str, Any]:
    return without(dict(identity), [f"recipe.{BATCH_SIZE}", *EXTENDABLE])


def _identity(inputs: Mapping[str, str], processes: int | None, recipe: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": dict(inputs), "processes": processes, "recipe": without(recipe, _RESUMABLE_SETTINGS)}
