"""Operations that behave differently in exported programs, where torch.export cannot reason about symbolic sizes.

They are shared by several modules; special cases of a single module check `torch.compiler.is_exporting` there.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def autocast_disabled(device: torch.device) -> AbstractContextManager[object]:
    """Return a context without automatic mixed precision; an empty one in exported programs, which are float32."""
    if torch.compiler.is_exporting():
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def contiguous_for_export(x: Tensor) -> Tensor:
    """Return `x`, in exported programs as a contiguous copy.

    The memory layout of a convolution's result, and whether a slice can be flattened without a copy, depend on whether
    the batch has one image, which is unknown there.
    """
    return x.clone(memory_format=torch.contiguous_format) if torch.compiler.is_exporting() else x
