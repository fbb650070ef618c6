"""Files with weights under official key names: checkpoints of the official repository and plain state dicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from codetr.weights.foreign_file import only_tensors, read_foreign, unwrapped

_WRAPPERS = ("state_dict", "model")
"""Keys of the weights in files that contain other values too."""


@dataclass(frozen=True)
class OfficialCheckpoint:
    """Content of a checkpoint.

    Attributes:
        weights: tensors by key, without the common prefix of distributed training.
        meta: metadata of the official code: CLASSES, config and more; empty if there is none.
        averages: names of `ema_*` copies, which were skipped: the weights themselves are the averages.
        left_out: other keys of the file that were skipped, e.g. "optimizer".
    """

    weights: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)
    averages: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def read_checkpoint(path: Path) -> OfficialCheckpoint:
    """Read a checkpoint or a plain state dict, .pth or .safetensors.

    Tensors are memory-mapped if the format allows it, so they need no memory before they are used.

    Raises:
        UserError: the file does not exist or is damaged, it requires code to be executed, or it contains no weights.
    """
    file = read_foreign(path)
    content, wrappers = unwrapped(file, _WRAPPERS)
    meta = file.get("meta", {}) if wrappers else {}
    left_out = tuple(sorted(str(key) for key in file if key not in (*wrappers[:1], "meta"))) if wrappers else ()
    weights = _without_prefix(only_tensors(content, str(path)))
    copies = {f"ema_{name.replace('.', '_')}" for name in weights} & weights.keys()
    return OfficialCheckpoint(
        weights={name: value for name, value in weights.items() if name not in copies},
        meta=dict(meta) if isinstance(meta, Mapping) else {},
        averages=tuple(sorted(copies)),
        left_out=left_out,
    )


def _without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = "module."
    if all(name.startswith(prefix) for name in weights):
        return {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights
