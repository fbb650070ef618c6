"""AdamW over parameter groups that differ in learning rate and weight decay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer

from codetr.core.errors import UserError
from codetr.training.config import OptimizerConfig
from codetr.training.sharding import like


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


def layers_above(name: str, depth: int) -> int:
    """How many of a backbone's `depth` blocks and of what follows them lie above a parameter.

    0 for everything that is not part of the blocks or of the embedding below them: final norm, neck and heads.
    """
    block = re.match(r"backbone\.blocks\.(\d+)\.", name)
    if block:
        return depth - int(block[1])
    return depth + 1 if name.startswith(("backbone.pos_embed", "backbone.patch_embed.")) else 0


def parameter_groups(parameters: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig) -> list[dict[str, Any]]:
    """Optimiser groups, one for each pair of learning rate and weight decay that occurs, in order of first appearance.

    Frozen parameters are left out: they have no gradients. Sharded parameters and whole ones do not share a group,
    since a fused step takes either.

    Returns:
        groups with `params`, `lr`, `weight_decay` and `base_lr`, from which the schedule computes `lr`.

    Raises:
        UserError: layer decay is asked for, and the backbone has no blocks.
    """
    named = list(parameters)
    blocks = {match[1] for name, _ in named if (match := re.match(r"backbone\.blocks\.(\d+)\.", name))}
    if config.layer_decay is not None and not blocks:
        hint = "Leave it at null: it is for ViT backbones."
        raise UserError("the backbone has no blocks", where="training.optimizer.layer_decay", hint=hint)
    groups: dict[tuple[float, float, bool], dict[str, Any]] = {}
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        lr, weight_decay = config.lr * lr_multiplier(name, config.lr_multipliers), config.weight_decay
        if config.layer_decay is not None:
            lr *= config.layer_decay ** layers_above(name, len(blocks))
            # Scalars do decay: so the published weights were trained.
            if parameter.ndim == 1 or name.endswith("bias"):
                weight_decay = 0.0
        group = {"params": [], "lr": lr, "base_lr": lr, "weight_decay": weight_decay}
        groups.setdefault((lr, weight_decay, isinstance(parameter, DTensor)), group)["params"].append(parameter)
    return list(groups.values())


def build_optimizer(detector: nn.Module, config: OptimizerConfig) -> AdamW:
    """AdamW for the trainable parameters of `detector`; one fused kernel per step where the device has it."""
    return AdamW(parameter_groups(detector.named_parameters(), config), fused=True)


def optimizer_state(optimizer: Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, dict[str, Tensor]]:
    """What the optimiser remembers of every parameter, by the parameter's name.

    Groups and their settings are not part of it: they follow from the configuration.
    """
    return {name: optimizer.state[parameter] for name, parameter in parameters.items() if parameter in optimizer.state}


def load_optimizer_state(
    optimizer: Optimizer, parameters: Mapping[str, nn.Parameter], state: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Take over what `optimizer_state` gave, of whole tensors.

    Raises:
        KeyError, ValueError: it is of other parameters.
    """
    for name, values in state.items():
        parameter = parameters[name]
        optimizer.state[parameter] = {
            # The number of steps belongs to the parameter as a whole.
            key: value.to(parameter.device, copy=True) if key == "step" else like(value, parameter)
            for key, value in values.items()
        }
