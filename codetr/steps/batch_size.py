"""`loader.batch_size: auto`: choose the images of a batch once for a run."""

from __future__ import annotations

import logging
from functools import partial

from codetr.core.errors import UserError
from codetr.data.dataset.split import Split
from codetr.data.loading.largest_image import largest_image
from codetr.distributed.capacity import Capacity
from codetr.distributed.processes import environment_int
from codetr.models.detector import CoDETR
from codetr.steps.training_run import BATCH_SIZE, TrainingRun
from codetr.training.batch_size import LESS_MEMORY, MemoryTrial, largest_fitting, trial_batch
from codetr.training.step import use_bf16
from codetr.zoo.recipe import Recipe

logger = logging.getLogger(__name__)

MOST = 64
"""Images of a batch that are never exceeded."""


def choose_batch_size(run: TrainingRun, detector: CoDETR, split: Split) -> int:
    """Return the number of images per process and forward pass for a run whose recipe says "auto".

    A run that was started before keeps its number. Rank 0 tries, and all ranks use the same: their GPUs are taken to be
    equal. Every rank calls it.

    Args:
        run: the run; its recipe's batch size is "auto".
        detector: on the device of the run, with any weights.
        split: the training split.

    Raises:
        UserError: not even one image fits, or the recipe shards the detector, whose memory then is unknown before.
    """
    return run.group.on_main(lambda: run.recorded_batch_size() or _largest(run, detector, split))


def _largest(run: TrainingRun, detector: CoDETR, split: Split) -> int:
    recipe, group = run.recipe, run.group
    training, device = recipe.training, group.device
    if training.distribution == "fsdp":
        hint = "Give a number, or set training.distribution=ddp."
        raise UserError("'auto' needs the whole detector on each GPU, and fsdp shards it", where=BATCH_SIZE, hint=hint)
    largest = largest_image(split, recipe.augment, recipe.preprocess)
    batch = partial(
        trial_batch,
        size=(largest.height, largest.width),
        objects=largest.objects,
        classes=recipe.model.num_classes,
        masks=recipe.model.needs_masks,
        device=device,
    )
    memory = Capacity.of_machine().memory
    trial = MemoryTrial(
        detector,
        batch,
        bf16=use_bf16(training.precision, device),
        states=_state_bytes(detector, recipe, several=group.world_size > 1),
        available=None if memory is None else memory // environment_int("LOCAL_WORLD_SIZE", 1),
    )
    most = most_images(recipe, images=len(split), processes=group.world_size)
    size = largest_fitting(trial.fits, most)
    if size == 0:
        raise UserError(
            f"not one image of {largest.height}x{largest.width} pixels fits into the memory of {device}",
            where=BATCH_SIZE,
            hint=LESS_MEMORY,
        )
    reason = "as many as fit into memory" if size < most else "more fit, or would need another learning rate"
    logger.info("%s=auto: %d images in a batch, %s", BATCH_SIZE, size, reason)
    return size


def most_images(recipe: Recipe, *, images: int, processes: int) -> int:
    """Return the upper bound of an automatic batch size.

    It is that of the images per step that the learning rate is meant for, unless the learning rate is scaled.

    Args:
        recipe: with its learning rate.
        images: of the training split.
        processes: of the run.
    """
    training = recipe.training
    share = processes * training.accumulate
    most = min(MOST, images // share)
    if training.optimizer.scale_lr == "none" and training.optimizer.reference_batch is not None:
        most = min(most, training.optimizer.reference_batch // share)
    return max(most, 1)


def _state_bytes(detector: CoDETR, recipe: Recipe, *, several: bool) -> int:
    """Return the bytes of the optimiser's states, of the buckets of gradients of several processes, and of an average.

    Weights, gradients and activations are in memory when a batch is tried.
    """
    trained = sum(parameter.numel() for parameter in detector.parameters() if parameter.requires_grad)
    total = sum(value.numel() for value in detector.state_dict().values())
    return 4 * ((3 if several else 2) * trained + (total if recipe.training.ema else 0))
