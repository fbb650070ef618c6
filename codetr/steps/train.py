"""The step train: `dataset/` and a recipe → `model/`, on one process or on all that torchrun started."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codetr.core.code_version import code_version
from codetr.core.errors import UserError
from codetr.core.files import atomic_directory, write_json
from codetr.core.manifest import Manifest, require_output
from codetr.core.settings import Settings, without
from codetr.data.dataset.split import Split
from codetr.data.loading.loader import TrainLoader
from codetr.data.loading.samplers import images_per_class
from codetr.distributed.processes import Processes, processes
from codetr.distributed.signals import StopRequest, stop_on_signal
from codetr.evaluation.evaluate import validate
from codetr.models.config import MEMORY_SETTINGS
from codetr.models.detector import CoDETR, build_detector
from codetr.tracking import Tracker
from codetr.training.checkpoint import CheckpointFolder, exclusive
from codetr.training.randomness import derive_seed, make_deterministic, seed_all
from codetr.training.state import Outcome
from codetr.training.trainer import METRICS, Log, Trainer
from codetr.weights.fine_tuning import TransferReport, init_from, source_digest, source_model_folder
from codetr.weights.model_folder import ModelInfo, save_model
from codetr.weights.pretrained.load import load_backbone
from codetr.zoo.recipe import Recipe

SUMMARY = "summary.json"

_NOT_OF_THE_RESULT = (
    "description",
    "training.checkpoint",
    "training.distribution",
    "loader.workers",
    "loader.prefetch",
    "loader.bad_images",
    *(f"model.{setting}" for setting in MEMORY_SETTINGS),
)
"""Settings of a recipe with other values of which a run may go on."""

logger = logging.getLogger(__name__)


class TrainConfig(Settings):
    """Settings of the step train.

    Attributes:
        recipe: the detector and how to train it.
    """

    recipe: Recipe


def train(config: TrainConfig, dataset: Path, output: Path, checkpoints: Path) -> Manifest:
    """Train a detector; under torchrun every process calls this with the same arguments.

    A run that was stopped, in whatever way, is called again with the same arguments and goes on from its
    newest checkpoint; the weights come out the same. They are a function of the dataset, the recipe and the number
    of processes.

    Args:
        config: the recipe; its number of classes is replaced by the dataset's.
        dataset: folder written by `prepare`, seen by every process.
        output: folder to publish the model in: weights and `model.json`, `metrics.jsonl`, `summary.json`,
            `manifest.json`. It appears, or replaces an earlier one, when training has ended.
        checkpoints: folder of this run's own that survives a restart, seen by every process.

    Returns:
        the manifest of `output`.

    Raises:
        UserError: no such dataset, or it changed, or its objects have no segmentations and the detector learns masks;
            weights to start from that do not fit; `output` holds something else; the folder of checkpoints is another
            run's; training cannot go on (a loss is not finite or stays zero).
        PreemptedError: SIGTERM or Ctrl-C was received and a checkpoint saved; the process ends with exit code 75.
    """
    training = config.recipe.training
    make_deterministic(threads=training.threads, deterministic=training.deterministic)
    # While the processes wait for one another to start, SIGTERM ends them at once: there is nothing to save.
    with processes() as group, stop_on_signal() as stop, ExitStack() as held:
        group.on_main(lambda: require_output(output, "model"))
        data = Manifest.read(dataset, "dataset")
        group.on_main(lambda: data.verify(dataset))
        split = Split.open(dataset, "train")
        model = config.recipe.model.with_classes(len(split.names))
        recipe = config.recipe.model_copy(update={"model": model})
        if recipe.model.needs_masks:
            group.on_main(lambda: require_segmentations(split))
        inputs = {"dataset": data.digest}
        if recipe.init_from is not None:
            inputs["init_from"] = group.on_main(partial(source_digest, recipe.init_from))
        detector, start = initial_detector(recipe, split.names, group)
        if recipe.init_from is None and recipe.backbone_weights is not None:
            inputs["backbone"] = state_digest(detector.backbone)
        run = Run(recipe, inputs, dataset, output, checkpoints, group, start)

        def claim() -> None:
            held.enter_context(exclusive(checkpoints))
            run.folder.claim(run.identity)

        group.on_main(claim)
        settings, identity = recipe.model_dump(mode="json") | {"inputs": inputs}, checkpoints / "wandb.json"
        if start is not None:
            settings["start"] = start.to_json()
            if group.is_main:
                logger.info("starts from %s:\n  %s", recipe.init_from, "\n  ".join(start.lines()))
        with Tracker.start("train", config=settings, identity=identity, rank=group.rank) as tracker:
            tracker.uses(dataset, "dataset")
            if recipe.init_from is not None and (folder := source_model_folder(recipe.init_from)) is not None:
                tracker.uses(folder, "model")
            outcome = run.train(detector, split, stop, tracker.log)
            group.on_main(lambda: run.publish(split, outcome))
            counted = {} if outcome.bad_images is None else {"bad_images": len(outcome.bad_images)}
            tracker.summary({**outcome.validation, "best": outcome.best, **counted})
            tracker.produces(output, "model")
    return Manifest.read(output, "model")


def require_segmentations(split: Split) -> None:
    """Raise `UserError` unless every object that is trained on has a segmentation.

    One without would have to be learned as a filled box, or as background within the boxes of others.
    """
    if count := split.without_segmentation:
        raise UserError(
            f"{count} annotations have no segmentation (segmentation), and the recipe learns masks",
            where=f"split '{split.name}' of {split.dataset}",
            hint="Give them segmentations or leave them out, and prepare the dataset again; or train boxes only, with "
            "model.roi.mask=null, model.instance=null and model.detect_head=query.",
        )


def initial_detector(
    recipe: Recipe, class_names: Sequence[str], group: Processes
) -> tuple[CoDETR, TransferReport | None]:
    """The detector as training starts: the same random weights on every rank, and the given ones.

    Returns:
        It, and what it took over from the detector it starts from, if from one.

    Raises:
        UserError: the given weights cannot be had or do not fit.
    """
    seed_all(derive_seed(recipe.training.seed, "weights"))
    detector = build_detector(recipe.model)
    source, start = recipe.backbone_weights, None
    if recipe.init_from is not None:
        start = group.main_first(partial(init_from, detector, recipe.init_from, class_names))
    elif source is not None:
        group.main_first(partial(load_backbone, detector.backbone, source))
    return detector.to(group.device), start


def state_digest(module: nn.Module) -> str:
    """SHA-256 of a module's parameters and buffers with their names."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"


@dataclass(frozen=True)
class Run:
    """One training run: what it computes, from what, and where.

    Attributes:
        recipe: with the dataset's number of classes.
        inputs: digests of the dataset's manifest, and of the weights it starts from if there are any.
        dataset: folder of the dataset.
        output: folder to publish the model in.
        checkpoints: the run's own folder.
        group: this process and the others.
        start: what was taken over from the detector that `recipe.init_from` names.
    """

    recipe: Recipe
    inputs: dict[str, str]
    dataset: Path
    output: Path
    checkpoints: Path
    group: Processes
    start: TransferReport | None

    @property
    def folder(self) -> CheckpointFolder:
        """The run's checkpoints."""
        return CheckpointFolder(self.checkpoints, keep=self.recipe.training.checkpoint.keep)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON values.

        A run may be resumed with other values of what does not: how often it saves, how many workers load images,
        what is computed twice to save memory. Nor does the way its processes share the work, but for rounding.
        """
        settings = without(self.recipe.model_dump(mode="json"), _NOT_OF_THE_RESULT)
        return {"inputs": self.inputs, "processes": self.group.world_size, "recipe": settings}

    def train(self, detector: CoDETR, split: Split, stop: StopRequest, log: Log) -> Outcome:
        """Train to the end, from the newest checkpoint if there is one."""
        recipe, training, loader = self.recipe, self.recipe.training, self.recipe.loader
        if detector.federated is not None:
            counts = torch.from_numpy(images_per_class(split))
            detector.federated.images_per_class = counts.to(self.group.device)
        batches = TrainLoader(
            split,
            recipe.augment,
            recipe.preprocess,
            loader,
            seed=training.seed,
            rank=self.group.rank,
            world_size=self.group.world_size,
            accumulate=training.accumulate,
            with_masks=recipe.model.needs_masks,
        )
        val = Split.open(self.dataset, "val") if training.validate_every else None
        trainer = Trainer(
            detector,
            batches,
            training,
            self.group,
            self.folder,
            images_per_step=loader.batch_size * training.accumulate * self.group.world_size,
            validate=partial(self._validate, val) if val else None,
            log=log,
            stop=stop,
            take_bad_images=batches.take_bad_images if loader.bad_images == "skip" else None,
        )
        return trainer.run()

    def _validate(self, split: Split, detector: nn.Module) -> dict[str, float | int | None] | None:
        """The headline figures of `detector` on `split`, on rank 0."""
        measured = validate(
            detector,
            split,
            self.recipe.preprocess,
            group=self.group,
            # As `evaluate` does by default: padding in a batch would change what is measured.
            batch_size=1,
            workers=self.recipe.loader.workers,
            work=self.checkpoints / "validation",
            masks=self.recipe.model.gives_masks,
        )
        return None if measured is None else measured.flat

    def publish(self, split: Split, outcome: Outcome) -> None:
        """Write the model folder, whole or not at all, and close the run (rank 0)."""
        recipe = self.recipe
        names = tuple(split.names)
        info = ModelInfo(recipe=recipe.name, class_names=names, model=recipe.model, preprocess=recipe.preprocess)
        with atomic_directory(self.output) as folder:
            digest = save_model(folder, outcome.state, info)
            shutil.copyfile(self.checkpoints / METRICS, folder / METRICS)
            summary = {
                "weights": digest,
                "steps": outcome.steps,
                "published_step": outcome.published_step,
                "images": len(split),
                "processes": self.group.world_size,
                "validation": outcome.validation,
                "best": outcome.best,
            }
            skipped = {} if outcome.bad_images is None else {"bad_images": outcome.bad_images.to_json()}
            summary |= skipped
            if self.start is not None:
                summary["init_from"] = self.start.to_json()
            write_json(folder / SUMMARY, summary)
            Manifest.of(
                folder,
                "model",
                code=code_version(__name__),
                inputs=self.inputs,
                config={"recipe": recipe.model_dump(mode="json"), "processes": self.group.world_size},
                summary={"steps": outcome.steps, **outcome.validation, **skipped},
            ).write(folder)
        self.folder.finish()
