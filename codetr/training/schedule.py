"""The learning rate as a pure function of the position in training, so that checkpoints need not hold it."""

from __future__ import annotations

from torch.optim import Optimizer

from codetr.training.config import ScheduleConfig


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
