"""AdamW over parameter groups that differ in their learning rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import AdamW

from codetr.training.config import OptimizerConfig


def lr_multiplier(name: str, multipliers: Mapping[str, float]) -> float:
    """The factor on a parameter's learning rate.

    Args:
        name: full name of the parameter, e.g. "backbone.layer2.0.conv1.weight".
        multipliers: part of a name → factor. The longest part that occurs in `name` counts, and it alone; of
            equally long ones the first in alphabetical order (the rule of MMDetection's optimiser constructor).
    """
    for part in sorted(sorted(multipliers), key=len, reverse=True):
        if part in name:
            return multipliers[part]
    return 1.0


def parameter_groups(parameters: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig) -> list[dict[str, Any]]:
    """Optimiser groups, one for each learning rate that occurs, in order of first appearance.

    Frozen parameters are left out: they have no gradients.

    Returns:
        groups with `params`, `lr`, `weight_decay` and `base_lr`, from which the schedule computes `lr`.
    """
    groups: dict[float, dict[str, Any]] = {}
    for name, parameter in parameters:
        if not parameter.requires_grad:
            continue
        lr = config.lr * lr_multiplier(name, config.lr_multipliers)
        group = groups.setdefault(lr, {"params": [], "lr": lr, "base_lr": lr, "weight_decay": config.weight_decay})
        group["params"].append(parameter)
    return list(groups.values())


def build_optimizer(detector: nn.Module, config: OptimizerConfig) -> AdamW:
    """AdamW for the trainable parameters of `detector`; one fused kernel per step where the device has it."""
    return AdamW(parameter_groups(detector.named_parameters(), config), fused=True)
