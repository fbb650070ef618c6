"""Recognise what FSDP2 has sharded, without importing FSDP2: that takes half as long as PyTorch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor


def is_sharded_tensor(value: object) -> TypeGuard[DTensor]:
    """Return whether a value is a tensor of which every rank holds a shard."""
    return _is_instance(value, "torch.distributed.tensor", "DTensor")


def is_sharded_module(value: object) -> TypeGuard[FSDPModule]:
    """Return whether a module's weights are gathered only while they are needed."""
    return _is_instance(value, "torch.distributed.fsdp", "FSDPModule")


def _is_instance(value: object, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    # Without the module there is no class, hence no instance of it.
    return loaded is not None and isinstance(value, getattr(loaded, name))
