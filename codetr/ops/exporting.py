"""What several modules do in another way when a program is exported: where torch.export does not see what holds for any
size. What only one of them does asks `torch.compiler.is_exporting` there."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def autocast_disabled(device: torch.device) -> AbstractContextManager[object]:
    """A context without automatic mixed precision. Exported programs are float32 throughout and have no contexts."""
    if torch.compiler.is_exporting():
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def contiguous_for_export(x: Tensor) -> Tensor:
    """`x`; in exported programs a copy that is contiguous, whatever the sizes are.

    What memory layout a convolution would give another one's result, and whether a slice can be flattened as it is,
    depends on whether the batch has one image.
    """
    return x.clone(memory_format=torch.contiguous_format) if torch.compiler.is_exporting() else x
