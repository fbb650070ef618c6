"""Files of weights under official names: checkpoints of the official repository, and plain state dicts.

Such a checkpoint is a pickle. It is read by PyTorch's unpickler for weights, which makes tensors and plain containers
and nothing else: whatever else a file asks for is refused.
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
"""Keys under which files hold the weights, if they hold anything besides."""


class _Ignored:
    """Takes the place of NumPy's scalars, which metadata may hold (a best score, a time): they are not even made."""

    def __init__(self, *values: object) -> None:
        """Args: whatever."""

    def __setstate__(self, state: object) -> None:
        """Keep nothing."""


# The one exception to "tensors and plain containers": names that stand for nothing.
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
    """What a file holds.

    Attributes:
        weights: by their names in the file, without the prefix that distributed training puts before all of them.
        meta: the official repository's notes about the run: CLASSES, config and more; empty if there are none.
        averages: names of `ema_*` copies. The weights proper are the averages already, so these were left out.
        left_out: what else is in the file and was not read, e.g. "optimizer".
    """

    weights: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)
    averages: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def read_checkpoint(path: Path) -> OfficialCheckpoint:
    """Read a checkpoint or a plain state dict, .pth or .safetensors.

    The tensors are maps of the file where its format allows it: they take no memory of their own before they are used.

    Raises:
        UserError: there is no such file, it is damaged, it asks for something to be executed, or it holds no weights.
    """
    if path.is_dir():
        raise UserError("is a folder, expected a file of weights", where=str(path))
    if not path.exists():
        raise UserError("no such file", where=str(path))
    content = _load(path)
    meta: Any = {}
    left_out: tuple[str, ...] = ()
    if wrapper := next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None):
        meta = content.get("meta", {})
        left_out = tuple(sorted(str(key) for key in content if key not in (wrapper, "meta")))
        content = content[wrapper]
    faults = [str(name) for name, value in content.items() if not (isinstance(name, str) and _is_plain(value))]
    if faults or not content:
        problem = (
            f"holds something else than tensors by name: {', '.join(faults[:5])}" if faults else "holds no weights"
        )
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
    # A damaged or hostile file makes readers raise nearly anything, and all of it means the same.
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        mapped = zipfile.is_zipfile(path)
        if mapped:
            _check_sums(path)
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except UserError:
        raise
    except Exception as error:
        if asked := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise UserError(
                f"asks for '{asked[1]}', which is neither a tensor nor plain data; nothing of it was executed",
                where=str(path),
                hint="Whoever trusts the file can load it with the program it is from and save its state dict alone.",
            ) from None
        # PyTorch's own advice is to switch the protection off.
        reason = str(error).partition("\n")[0].partition(". ")[0] or "its end is missing"
        raise UserError(
            f"cannot be read as weights ({type(error).__name__}: {reason})",
            where=str(path),
            hint="The file is damaged, incomplete or no checkpoint; fetch it again.",
        ) from None
    if not isinstance(content, Mapping):
        raise UserError(f"holds a {type(content).__name__}, expected weights by name", where=str(path))
    return content


def _check_sums(path: Path) -> None:
    """Compare every record with its checksum, which mapping the file into memory does not."""
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise UserError(
                f"is damaged: the checksum of '{damaged}' is wrong", where=str(path), hint="Fetch the file again."
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
