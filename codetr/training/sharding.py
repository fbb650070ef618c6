"""Fully sharded data parallelism (FSDP2): every process keeps a shard of weights, gradients and optimiser states.

Weights become DTensors, each sharded along its first axis, and are gathered only while they are needed. Checkpoints
hold full tensors, so they do not depend on how a run was distributed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from codetr.distributed.processes import Processes
from codetr.models.backbones import resnet, swin, vit
from codetr.models.heads.roi.box_head import RoIHead
from codetr.models.necks.channel_mapper import ChannelMapper
from codetr.models.necks.simple_feature_pyramid import SimpleFeaturePyramid
from codetr.models.transformer.layers import EncoderLayer
from codetr.training.sharded_types import is_sharded_module, is_sharded_tensor

UNITS = (
    vit.ViTBlock,
    swin.SwinBlock,
    swin.PatchMerging,
    resnet.ResNetStage,
    SimpleFeaturePyramid,
    ChannelMapper,
    EncoderLayer,
)
"""Modules that are called exactly once in a training pass: each is a unit whose weights are gathered separately."""


def shard(detector: nn.Module, processes: Processes) -> None:
    """Shard the weights of `detector` in place; with one process, do nothing.

    Precision is not changed: weights are stored, exchanged and updated in their dtype, and autocast rounds them for the
    layers that compute in bf16, as it does without sharding. So DDP and FSDP give the same numbers up to the order of
    sums.

    Args:
        detector: equal on all ranks, on the device of `processes`. Shard it before building the optimiser.
        processes: all processes of the run.
    """
    if processes.world_size == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # PyTorch warns at every step that changing a unit's output in place would be wrong; nothing here does.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    mesh = init_device_mesh(processes.device.type, (processes.world_size,))
    for unit in units(detector):
        fully_shard(unit, mesh=mesh)
    # The rest, a few percent of a large detector, is gathered once for the whole step: its modules run several times
    # in a pass (the decoder for the queries of every auxiliary head), or their weights are used outside of `forward`.
    # Scalars have no axis to shard along.
    scalars = {parameter for parameter in detector.parameters() if parameter.dim() == 0}
    fully_shard(detector, mesh=mesh, reshard_after_forward=False, ignored_params=scalars)


def units(detector: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules whose weights are gathered and freed separately, see `UNITS`."""
    for module in detector.modules():
        if isinstance(module, UNITS):
            yield module
        elif isinstance(module, RoIHead):
            yield from module.fcs


@contextmanager
def gathered(detector: nn.Module) -> Iterator[None]:
    """Gather all weights on every rank inside the block, where each may run the detector any number of times.

    Gradients are not supported. Outside of the block a pass waits for the other ranks, so ranks with unequal shares of
    a validation split would wait forever.
    """
    sharded = [module for module in detector.modules() if is_sharded_module(module)]
    for module in sharded:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in sharded:
            module.reshard()
            module.set_reshard_after_forward(module is not detector, recurse=False)


def local(tensor: Tensor) -> Tensor:
    """Return this rank's shard of a sharded tensor, or the tensor itself; it shares the memory."""
    return tensor.to_local() if is_sharded_tensor(tensor) else tensor


@torch.no_grad()
def shard_like(full: Tensor, reference: Tensor) -> Tensor:
    """Copy a full tensor to the device of `reference`, and shard it if `reference` is sharded, without communication.

    Args:
        full: equal on all ranks.
        reference: of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    if full.shape != reference.shape:
        raise ValueError(f"a tensor has shape {list(full.shape)}, expected {list(reference.shape)}")
    if not is_sharded_tensor(reference):
        return full.to(reference.device, copy=True)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(full.to(reference.device), reference.device_mesh, reference.placements, src_data_rank=None)


def gather_full(state: Any, *, keep: bool) -> Any:
    """Replace every sharded tensor in nested dicts by the full tensor on the CPU.

    All ranks call it with dicts of equal keys.

    Args:
        state: nested dicts of tensors and other values.
        keep: whether this rank needs the result; elsewhere sharded tensors become None.
    """
    if isinstance(state, Mapping):
        return {key: gather_full(value, keep=keep) for key, value in state.items()}
    if is_sharded_tensor(state):
        tensor = state.full_tensor()
        return tensor.cpu() if keep else None
    return state
