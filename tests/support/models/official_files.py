"""Files in the format of the official code, written here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CLASSIFIER = "query_head.cls_branches.0.weight"


def write_checkpoint(
    path: Path,
    weights: Mapping[str, Tensor],
    *,
    averages: bool = False,
    optimizer: bool = False,
    meta: Mapping[str, Any] | None = None,
) -> Path:
    """A checkpoint with the given weights, and notes about the run: `meta` adds to them."""
    state = dict(weights)
    if averages:
        state |= {f"ema_{name.replace('.', '_')}": value + 1 for name, value in weights.items()}
    names = tuple(f"thing {label}" for label in range(len(weights[CLASSIFIER])))
    content = {"meta": {"mmdet_version": "2.25.3", "epoch": 12, "CLASSES": names, **(meta or {})}, "state_dict": state}
    if optimizer:
        content["optimizer"] = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}
    torch.save(content, path)
    return path
