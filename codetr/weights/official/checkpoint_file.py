"""Files with weights under official key names: checkpoints of the official repository and plain state dicts.

Such a checkpoint is a pickle. PyTorch's unpickler for weights reads it, which creates only tensors and plain containers
and refuses everything else.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from codetr.core.errors import UserError

_WRAPPERS = ("state_dict", "model")
"""Keys of the weights in files that contain other values too."""


class _Ignored:
    """Placeholder of NumPy scalars, which metadata may contain (a best score, a time) and which are not created."""

    def __init__(self, *values: object) -> None:
        """Ignore all arguments."""

    def __setstate__(self, state: object) -> None:
        """Ignore the state."""


# The only exception to "tensors and plain containers": names that are replaced by a placeholder.
_HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Ignored, name)
    for name in (
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        *(f"numpy.dtypes.{kind}DType" for kind in ("Float64", "Float32", "Float16", "Int64", "Int32", "Bool")),
    )
]


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
    if path.is_dir():
        raise UserError("is a folder, expected a file of weights", where=str(path), hint="Give the file in it.")
    if not path.exists():
        raise UserError("no such file", where=str(path), hint="Check the path.")
    content = _load(path)
    meta: Any = {}
    left_out: tuple[str, ...] = ()
    if wrapper := next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None):
        meta = content.get("meta", {})
        left_out = tuple(sorted(str(key) for key in content if key not in (wrapper, "meta")))
        content = content[wrapper]
    faults = [str(name) for name, value in content.items() if not (isinstance(name, str) and _is_plain(value))]
    if faults or not content:
        problem = f"contains values that are not tensors: {', '.join(faults[:5])}" if faults else "contains no weights"
        raise UserError(problem, where=str(path), hint="Give a checkpoint of the official code or a state dict.")
    weights = _without_prefix({name: value.detach() for name, value in content.items()})
    copies = {f"ema_{name.replace('.', '_')}" for name in weights} & weights.keys()
    return OfficialCheckpoint(
        weights={name: value for name, value in weights.items() if name not in copies},
        meta=dict(meta) if isinstance(meta, Mapping) else {},
        averages=tuple(sorted(copies)),
        left_out=left_out,
    )


def _load(path: Path) -> Mapping[Any, Any]:
    # Readers raise nearly any exception for a damaged or malicious file.
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        mapped = zipfile.is_zipfile(path)
        if mapped:
            _verify_checksums(path)
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except UserError:
        raise
    except Exception as error:
        if refused := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise UserError(
                f"contains '{refused[1]}', which is neither a tensor nor plain data; no code was executed",
                where=str(path),
                hint="If you trust the file, load it with the program that wrote it and save only its state dict.",
            ) from None
        # The rest of PyTorch's message advises to disable the protection.
        reason = str(error).partition("\n")[0].partition(". ")[0] or "unexpected end"
        raise UserError(
            f"cannot be read as weights ({type(error).__name__}: {reason})",
            where=str(path),
            hint="The file is damaged, incomplete or not a checkpoint: download it again.",
        ) from None
    if not isinstance(content, Mapping):
        raise UserError(
            f"contains a {type(content).__name__}, expected a state dict",
            where=str(path),
            hint="Give a checkpoint of the official code or a state dict.",
        )
    return content


def _verify_checksums(path: Path) -> None:
    """Verify the checksum of every record, which memory-mapping does not."""
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise UserError(
                f"is damaged: the checksum of '{damaged}' is wrong", where=str(path), hint="Download it again."
            )


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = "module."
    if all(name.startswith(prefix) for name in weights):
        return {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights
