"""The learning rate as a pure function of the position in training, so that checkpoints need not hold it."""

from __future__ import annotations

from torch.optim import Optimizer

from codetr.training.config import OptimizerConfig, ScheduleConfig


def lr_factor(config: ScheduleConfig, *, step: int, epoch: int) -> float:
    """Return the factor on every learning rate at one optimiser step.

    Args:
        step: optimiser steps done before this one.
        epoch: epoch of this step, from 0.
    """
    factor = config.gamma ** sum(epoch >= milestone for milestone in config.milestones)
    if step < config.warmup_iterations:
        missing = (1 - step / config.warmup_iterations) * (1 - config.warmup_ratio)
        factor *= 1 - missing
    return factor


def set_learning_rate(optimizer: Optimizer, config: ScheduleConfig, *, step: int, epoch: int) -> float:
    """Set the learning rate of every group, and return the highest."""
    factor = lr_factor(config, step=step, epoch=epoch)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return max(group["lr"] for group in optimizer.param_groups)


def describe_lr(recipe: OptimizerConfig, used: OptimizerConfig, images_per_step: int) -> str | None:
    """Return a line about a learning rate that is meant for another number of images per step; None if there is none.

    Args:
        recipe: the settings of the recipe.
        used: the same for this run, see `OptimizerConfig.for_images`.
        images_per_step: over all processes and micro-batches.
    """
    if recipe.reference_batch in (None, images_per_step):
        return None
    if recipe.scale_lr != "none":
        return (
            f"the learning rate is {used.lr:.3g}: {recipe.lr:.3g} for {recipe.reference_batch} images a step, scaled "
            f"to {images_per_step} (training.optimizer.scale_lr={recipe.scale_lr})"
        )
    return (
        f"note: a step has {images_per_step} images, and the learning rate of the recipe, {recipe.lr:.3g}, is meant "
        f"for {recipe.reference_batch}: training.optimizer.scale_lr=linear (or sqrt) scales it, training.accumulate "
        "and loader.batch_size change the images a step"
    )
