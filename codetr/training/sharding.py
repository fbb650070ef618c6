"""Fully sharded data parallelism, FSDP2: every process keeps a share of weights, gradients and optimiser states.

Weights become DTensors, each cut along its first axis. They are whole only while they are needed. Weights, their
average and the optimiser's states are saved whole, so that a checkpoint does not tell how a run was distributed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from codetr.distributed.processes import Processes
from codetr.models.backbones import resnet, swin, vit
from codetr.models.heads.roi.box_head import RoIHead
from codetr.models.necks.channel_mapper import ChannelMapper
from codetr.models.necks.simple_feature_pyramid import SimpleFeaturePyramid
from codetr.models.transformer.layers import EncoderLayer

UNITS = (
    vit.ViTBlock,
    swin.SwinBlock,
    swin.PatchMerging,
    resnet.ResNetStage,
    SimpleFeaturePyramid,
    ChannelMapper,
    EncoderLayer,
)
"""Modules that are called exactly once in a training pass: their weights are fetched for them alone."""


def shard(detector: nn.Module, processes: Processes) -> None:
    """Shard the weights of `detector` in place; with one process it stays as it is.

    Precision is not changed: weights are stored, exchanged and updated as they are, and autocast rounds them for the
    layers that compute in bf16, as it does without sharding. So both ways of distributing give the same numbers up to
    the order of sums.

    Args:
        detector: equal on all ranks, on the device of `processes`. It must be sharded before an optimiser is made.
        processes: of the run.
    """
    if processes.world_size == 1:
        return
    # Nothing is changed in place here. PyTorch warns at every step that changing a unit's output would be wrong.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    mesh = init_device_mesh(processes.device.type, (processes.world_size,))
    for unit in units(detector):
        fully_shard(unit, mesh=mesh)
    # The rest, a few percent of a large detector, is fetched once for the whole step: its modules run several times
    # in a pass (the decoder for the queries of every auxiliary head), or their weights are used outside of `forward`.
    # A number has no axis to be cut along.
    numbers = {parameter for parameter in detector.parameters() if parameter.dim() == 0}
    fully_shard(detector, mesh=mesh, reshard_after_forward=False, ignored_params=numbers)


def units(detector: nn.Module) -> Iterator[nn.Module]:
    """The modules whose weights are fetched and freed by themselves, see `UNITS`."""
    for module in detector.modules():
        if isinstance(module, UNITS):
            yield module
        elif isinstance(module, RoIHead):
            yield from module.fcs


@contextmanager
def gathered(detector: nn.Module) -> Iterator[None]:
    """Inside the block every rank has all weights and may run the detector, without gradients, as often as it likes.

    Elsewhere a pass waits for the other ranks, so ranks with unequal shares of a validation split would wait for ever.
    """
    sharded = [module for module in detector.modules() if isinstance(module, FSDPModule)]
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
    """This rank's share of a sharded tensor, or the tensor itself; the memory is shared with it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def like(whole: Tensor, placed: Tensor) -> Tensor:
    """A whole tensor on the device of `placed`, and sharded if that is; nothing is exchanged for it.

    Args:
        whole: equal on all ranks.
        placed: of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    if whole.shape != placed.shape:
        raise ValueError(f"a tensor is {list(whole.shape)}, not {list(placed.shape)}")
    if not isinstance(placed, DTensor):
        return whole.to(placed.device, copy=True)
    return distribute_tensor(whole.to(placed.device), placed.device_mesh, placed.placements, src_data_rank=None)


def whole(state: Any, *, wanted: bool) -> Any:
    """Nested dicts with every sharded tensor put together, on the CPU. All ranks call it with dicts of equal keys.

    Args:
        state: nested dicts of tensors and other values.
        wanted: whether this rank has a use for it; elsewhere sharded tensors become None.
    """
    if isinstance(state, Mapping):
        return {key: whole(value, wanted=wanted) for key, value in state.items()}
    if isinstance(state, DTensor):
        tensor = state.full_tensor()
        return tensor.cpu() if wanted else None
    return state
