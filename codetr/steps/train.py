"""The train step: `dataset/` and a recipe → `model/`, on one process or on all that torchrun started."""

from __future__ import annotations

import logging
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from codetr.core.code_version import code_version
from codetr.core.errors import UserError
from codetr.core.manifest import Manifest, require_output
from codetr.core.settings import Settings
from codetr.core.system.lock import locked
from codetr.data.dataset.split import Split
from codetr.distributed.processes import processes
from codetr.distributed.signals import PreemptedError, StoppedWaitingError, StopRequest, stop_on_signal
from codetr.steps.batch_size import choose_batch_size
from codetr.steps.initial_detector import initial_detector, state_digest
from codetr.steps.settings import checkpoint_folder
from codetr.steps.training_run import BATCH_SIZE, TrainingRun
from codetr.tracking import Tracker
from codetr.tracking.trainjob_status import TrainJobStatus
from codetr.training.checkpoint_folder import HANGS, LOCK
from codetr.training.randomness import make_deterministic
from codetr.weights.fine_tuning import source_digest, source_model_folder
from codetr.zoo.recipe import Recipe

logger = logging.getLogger(__name__)


class TrainConfig(Settings):
    """Settings of the train step.

    Attributes:
        recipe: the detector and how to train it.
    """

    recipe: Recipe


def train(
    config: TrainConfig,
    dataset: Path,
    output: Path,
    checkpoints: Path | None = None,
    *,
    overwrite: bool = False,
    extend: bool = False,
    device: str = "auto",
) -> Manifest:
    """Train a detector; under torchrun every process calls this with the same arguments.

    An interrupted run is resumed from its newest checkpoint by calling this again with the same arguments, and ends
    with the same weights as one that was not interrupted. The weights are a function of the dataset, the recipe and
    the number of processes.

    Args:
        config: the recipe; its number of classes is replaced by the dataset's.
        dataset: folder written by `prepare`, seen by every process.
        output: folder for the model: weights and `model.json`, `metrics.jsonl`, `summary.json`, `manifest.json`. It
            appears when training has ended. If it holds the model of these very arguments, nothing is done.
        checkpoints: folder of this run alone that survives a restart, seen by every process; None for the output with
            the suffix .checkpoints.
        overwrite: replace the model of another run in `output`, and discard another run in `checkpoints`.
        extend: continue the run in `checkpoints` with more epochs, and replace its model in `output`. Its schedule and
            patience may be others too; the learning rate of every epoch is that of the new schedule.
        device: what to compute on, see `codetr.distributed.devices`.

    Returns:
        The manifest of `output`.

    Raises:
        UserError: there is no dataset, or it changed, or its objects lack segmentations that the recipe learns; the
            weights to start from do not fit; `output` holds other files or another model; `checkpoints` belongs to
            another run, or holds none to extend; training cannot continue, because a loss is not finite, or those of
            all boxes stay zero.
        PreemptedError: SIGTERM or Ctrl-C was received and a checkpoint saved; the process exits with code 75.
    """
    training = config.recipe.training
    checkpoints = checkpoint_folder(output, checkpoints)
    make_deterministic(threads=training.threads, deterministic=training.deterministic)
    # While the processes wait for one another to start, SIGTERM ends them at once: there is nothing to save.
    with processes(device, traces=checkpoints / HANGS) as group, stop_on_signal() as stop, ExitStack() as locks:
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
        detector, transfer = initial_detector(recipe, split.names, group)
        if recipe.init_from is None and recipe.backbone_weights is not None:
            inputs["backbone"] = state_digest(detector.backbone)
        run = TrainingRun(recipe, inputs, dataset, output, checkpoints, group, transfer)
        group.on_main(partial(_lock, run, stop, locks))
        # Under the lock: processes of a run that was just killed may still have memory of the GPU.
        if recipe.loader.batch_size == "auto":
            recipe = recipe.changed([(BATCH_SIZE, choose_batch_size(run, detector, split))])
            run = replace(run, recipe=recipe)
        if not group.on_main(partial(_claim, run, overwrite=overwrite, extend=extend)):
            return Manifest.read(output, "model")
        settings, identity = recipe.model_dump(mode="json") | {"inputs": inputs}, checkpoints / "wandb.json"
        if transfer is not None:
            settings["start"] = transfer.to_json()
            if group.is_main:
                logger.info("initialised from %s:\n  %s", recipe.init_from, "\n  ".join(transfer.lines()))
        with Tracker.start("train", config=settings, identity=identity, rank=group.rank) as tracker:
            tracker.uses(dataset, "dataset")
            if recipe.init_from is not None and (folder := source_model_folder(recipe.init_from)) is not None:
                tracker.uses(folder, "model")
            status = TrainJobStatus.of_environment() if group.is_main else None
            with status or nullcontext():
                outcome = run.train(detector, split, stop, tracker.log, status)
            group.on_main(lambda: run.publish(split, outcome, code_version(__name__)))
            skipped = {} if outcome.bad_images is None else {"bad_images": len(outcome.bad_images)}
            tracker.summary({**outcome.published.validation, "best": outcome.best, **skipped})
            tracker.produces(output, "model")
    return Manifest.read(output, "model")


def _lock(run: TrainingRun, stop: StopRequest, locks: ExitStack) -> None:
    """Lock the run's folder of checkpoints until `locks` are released (rank 0).

    Raises:
        PreemptedError: there was a request to stop while another run had the folder.
    """
    try:
        with stop.interrupts():
            lock = locked(run.checkpoints / LOCK, folder=run.checkpoints, by="another training run", keep=True)
            locks.enter_context(lock)
    except StoppedWaitingError:
        logger.info("stopped while waiting for %s; nothing has changed", run.checkpoints)
        raise PreemptedError from None


def _claim(run: TrainingRun, *, overwrite: bool, extend: bool) -> bool:
    """Assign the run's folder of checkpoints to it, and return whether there is something to train (rank 0)."""
    if run.is_published(overwrite=overwrite, extend=extend):
        logger.info("%s is already complete: this run has published its model", run.output)
        return False
    if extend:
        run.extend()
    run.folder.claim(run.identity, discard=overwrite)
    return True


def require_segmentations(split: Split) -> None:
    """Require a segmentation of every object that is trained on.

    An object without one would be learned as a filled box, or as background within the boxes of other objects.

    Raises:
        UserError: objects have none.
    """
    if count := split.without_segmentation:
        raise UserError(
            f"{count} annotations have no segmentation, and the recipe learns masks",
            where=f"split '{split.name}' of {split.dataset}",
            hint="Add the segmentations or remove these annotations, and prepare the dataset again; or train boxes "
            "only, with model.roi.mask=null, model.instance=null and model.detect_head=query.",
        )
