"""AdamW over parameter groups that differ in learning rate and weight decay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from codetr.core.errors import UserError
from codetr.training.config import OptimizerConfig
from codetr.training.sharded_types import is_sharded_tensor
from codetr.training.sharding import shard_like


def lr_multiplier(name: str, multipliers: Mapping[str, float]) -> float:
    """Return the factor on a parameter's learning rate.

    Args:
        name: full name of the parameter, e.g. "backbone.layer2.0.conv1.weight".
        multipliers: part of a name → factor. Only the longest part that occurs in `name` applies; of equally long
            ones the first in alphabetical order (the rule of MMDetection's optimiser constructor).
    """
    for part in sorted(sorted(multipliers), key=len, reverse=True):
        if part in name:
            return multipliers[part]
    return 1.0


def layers_above(name: str, depth: int) -> int:
    """Return the number of layers above a parameter: blocks of the backbone, and one for the rest of the detector.

    0 for everything outside of the blocks and the embedding below them: final norm, neck and heads.

    Args:
        name: full name of the parameter.
        depth: number of the backbone's blocks.
    """
    block = re.match(r"backbone\.blocks\.(\d+)\.", name)
    if block:
        return depth - int(block[1])
    return depth + 1 if name.startswith(("backbone.pos_embed", "backbone.patch_embed.")) else 0


def parameter_groups(parameters: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig) -> list[dict[str, Any]]:
    """Group parameters by learning rate and weight decay, in order of first appearance.

    Frozen parameters are left out: they have no gradients. Sharded and unsharded parameters do not share a group,
    since a fused step takes only one kind.

    Returns:
        Groups with `params`, `lr`, `weight_decay` and `base_lr`, from which the schedule computes `lr`.

    Raises:
        UserError: layer decay is configured, and the backbone has no blocks.
    """
    named = list(parameters)
    blocks = {match[1] for name, _ in named if (match := re.match(r"backbone\.blocks\.(\d+)\.", name))}
    if config.layer_decay is not None and not blocks:
        hint = "Set it to null: layer decay is for ViT backbones."
        raise UserError("the backbone has no blocks", where="training.optimizer.layer_decay", hint=hint)
    groups: dict[tuple[float, float, bool], dict[str, Any]] = {}
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        lr, weight_decay = config.lr * lr_multiplier(name, config.lr_multipliers), config.weight_decay
        if config.layer_decay is not None:
            lr *= config.layer_decay ** layers_above(name, len(blocks))
            # Scalars do decay, as they did when the published weights were trained.
            if parameter.ndim == 1 or name.endswith("bias"):
                weight_decay = 0.0
        group = {"params": [], "lr": lr, "base_lr": lr, "weight_decay": weight_decay}
        groups.setdefault((lr, weight_decay, is_sharded_tensor(parameter)), group)["params"].append(parameter)
    return list(groups.values())


def build_optimizer(detector: nn.Module, config: OptimizerConfig) -> AdamW:
    """Build AdamW for the trainable parameters of `detector`, with a fused kernel where the device has it."""
    return AdamW(parameter_groups(detector.named_parameters(), config), fused=True)


def optimizer_state(optimizer: Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, dict[str, Tensor]]:
    """Return the optimiser's state of every parameter, by the parameter's name.

    Groups and their settings are not included: they follow from the configuration.
    """
    return {name: optimizer.state[parameter] for name, parameter in parameters.items() if parameter in optimizer.state}


def load_optimizer_state(
    optimizer: Optimizer, parameters: Mapping[str, nn.Parameter], state: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Load what `optimizer_state` returned, as full tensors.

    Raises:
        KeyError, ValueError: it is the state of other parameters.
    """
    for name, values in state.items():
        parameter = parameters[name]
        optimizer.state[parameter] = {
            # The number of steps is one scalar for the whole parameter and is never sharded.
            key: value.to(parameter.device, copy=True) if key == "step" else shard_like(value, parameter)
            for key, value in values.items()
        }
