"""The train step: `dataset/` and a recipe → `model/`, on one process or on all that torchrun started."""

from __future__ import annotations

import logging
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from codetr.core.code_version import code_version
from codetr.core.errors import UserError
from codetr.core.manifest import NAME as MANIFEST
from codetr.core.manifest import Manifest, require_output
from codetr.core.settings import Settings
from codetr.core.system.lock import locked
from codetr.data.dataset.split import Split
from codetr.distributed.processes import Processes
from codetr.distributed.processes import processes as all_processes
from codetr.distributed.signals import PreemptedError, StoppedWaitingError, StopRequest, stop_on_signal
from codetr.models.detector import CoDETR
from codetr.steps.batch_size import choose_batch_size
from codetr.steps.initial_detector import initial_detector, state_digest
from codetr.steps.result_key import ResultKey
from codetr.steps.settings import checkpoint_folder
from codetr.steps.store import ResultStore
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
    store: ResultStore | None = None,
    fresh: bool = False,
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
        store: where the model is looked for before, and stored after; None for no store. A stored model leaves the
            folder of checkpoints as it is. A run that is extended is neither looked for nor stored.
        fresh: do not look for a stored model.

    Returns:
        The manifest of `output`.

    Raises:
        UserError: there is no dataset, or it changed, or its objects lack segmentations that the recipe learns; the
            weights to start from do not fit; `output` holds other files or another model; `checkpoints` belongs to
            another run, or holds none to extend; training cannot continue, because a loss is not finite, or those of
            all boxes stay zero; the store cannot be used.
        PreemptedError: SIGTERM or Ctrl-C was received and a checkpoint saved; the process exits with code 75.
    """
    training = config.recipe.training
    checkpoints = checkpoint_folder(output, checkpoints)
    make_deterministic(threads=training.threads, deterministic=training.deterministic)
    # While the processes wait for one another to start, SIGTERM ends them at once: there is nothing to save.
    with (
        all_processes(device, traces=checkpoints / HANGS) as group,
        stop_on_signal() as stop,
        ExitStack() as locks,
    ):
        group.on_main(lambda: require_output(output, "model"))
        run, detector, split = _open_run(config, dataset, output, checkpoints, group)
        group.on_main(partial(_lock, run, stop, locks))
        # Under the lock: processes of a run that was just killed may still have memory of the GPU.
        if run.recipe.loader.batch_size == "auto":
            run = replace(run, recipe=run.recipe.changed([(BATCH_SIZE, choose_batch_size(run, detector, split))]))
        recipe, key = run.recipe, run.result_key(processes=group.world_size, device=group.device.type)
        asked = None if fresh or extend else store
        claimed = group.on_main(partial(_claim, run, key, asked, overwrite=overwrite, extend=extend))
        if claimed is None:
            return Manifest.read(output, "model")
        settings, identity = recipe.model_dump(mode="json") | {"inputs": run.inputs}, checkpoints / "wandb.json"
        if run.transfer is not None:
            settings["start"] = run.transfer.to_json()
            if group.is_main:
                logger.info("initialised from %s:\n  %s", recipe.init_from, "\n  ".join(run.transfer.lines()))
        with Tracker.start("train", output, config=settings, identity=identity, rank=group.rank) as tracker:
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
            # What images were skipped, or which code began the run, is not part of the key.
            if store is not None and claimed.began_with_key and not skipped.get("bad_images"):
                group.on_main(partial(store.publish, key, output, tracking=tracker.location))
    return Manifest.read(output, "model")


def restore_stored(
    config: TrainConfig,
    dataset: Path,
    output: Path,
    store: ResultStore,
    *,
    processes: int,
    device: str,
    overwrite: bool = False,
) -> Manifest | None:
    """Write the stored model of a training that is to run elsewhere; return its manifest, None if there is none.

    None too where only the training knows: its batch size depends on the memory there, or `output` has a model already.

    Args:
        config: see `train`, also for the next three.
        dataset: seen by this process.
        output: of the training.
        store: where the model is looked for.
        processes: of the training.
        device: type of its devices, e.g. "cuda".
        overwrite: replace the model in `output`.

    Raises:
        UserError: see `train`.
    """
    if config.recipe.loader.batch_size == "auto" or ((output / MANIFEST).exists() and not overwrite):
        return None
    require_output(output, "model")
    with all_processes("cpu") as group:
        run, _, _ = _open_run(config, dataset, output, checkpoint_folder(output, None), group)
        stored = store.restore(run.result_key(processes=processes, device=device), output)
    return None if stored is None else Manifest.read(output, "model")


def _open_run(
    config: TrainConfig, dataset: Path, output: Path, checkpoints: Path, group: Processes
) -> tuple[TrainingRun, CoDETR, Split]:
    """Return a run with its initial detector and its images, all inputs read."""
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
    return TrainingRun(recipe, inputs, dataset, output, checkpoints, group, transfer), detector, split


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


@dataclass(frozen=True)
class _Claim:
    """A run that has something to train.

    Attributes:
        began_with_key: the key of the result is that with which the run began: same code, libraries and device.
    """

    began_with_key: bool


def _claim(
    run: TrainingRun, key: ResultKey, store: ResultStore | None, *, overwrite: bool, extend: bool
) -> _Claim | None:
    """Assign the run's folder of checkpoints to it; None if there is nothing to train, the model is there (rank 0)."""
    if run.is_published(overwrite=overwrite, extend=extend):
        logger.info("%s is already complete: this run has published its model", run.output)
        return None
    if store is not None and store.restore(key, run.output) is not None:
        return None
    if extend:
        run.extend()
    run.folder.claim(run.identity, discard=overwrite)
    return _Claim(run.begins_with(key.digest))


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
