"""Leaving automatic mixed precision where a computation needs more digits than bfloat16 has."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context in which autocast is off. Exported programs are float32 throughout and have no such contexts."""
    if torch.compiler.is_exporting():
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
