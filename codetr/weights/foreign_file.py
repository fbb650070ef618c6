"""Files of weights from elsewhere: PyTorch's pickles and safetensors, read without executing anything.

PyTorch's unpickler for weights creates only tensors and plain containers and refuses everything else.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from codetr.core.errors import UserError, listed
from codetr.core.system.os_errors import is_system_failure, underlying_error, unreadable

_PROTOCOLS = (0, 1, 2)
"""Protocols of pickle that PyTorch's unpickler for weights reads; `torch.save` writes 2."""

_MOST_WRAPPERS = 3


class _Ignored:
    """Placeholder of objects that metadata may contain and that are not created: scores, times, histories of losses."""

    def __init__(self, *values: object) -> None:
        """Ignore all arguments."""

    def __setstate__(self, state: object) -> None:
        """Ignore the state."""


# The only exception to "tensors and plain containers": names that are replaced by a placeholder.
_HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Ignored, name)
    for name in (
        *(f"numpy.{core}.multiarray.{kind}" for core in ("core", "_core") for kind in ("scalar", "_reconstruct")),
        "numpy.dtype",
        "numpy.ndarray",
        *(f"numpy.dtypes.{kind}DType" for kind in ("Float64", "Float32", "Float16", "Int64", "Int32", "Bool")),
        "mmengine.logging.history_buffer.HistoryBuffer",
    )
]


def read_foreign(path: Path) -> Mapping[Any, Any]:
    """Read the content of a .safetensors or PyTorch file.

    Tensors are memory-mapped if the format allows it, so they need no memory before they are used.

    Raises:
        UserError: the file does not exist, is no regular file or is damaged, it requires code to be executed, or it
            contains something other than a mapping.
    """
    if path.is_dir():
        raise UserError("is a folder, expected a file of weights", where=str(path), hint="Give the file in it.")
    if not path.exists():
        raise UserError("no such file", where=str(path), hint="Check the path.")
    if not path.is_file():
        raise UserError("is not a regular file", where=str(path), hint="Give a .pth or .safetensors file.")
    # Readers raise nearly any exception for a damaged or malicious file.
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        mapped = zipfile.is_zipfile(path)
        if mapped:
            _verify_archive(path)
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except UserError:
        raise
    except Exception as error:
        if isinstance(cause := underlying_error(error), OSError) and is_system_failure(cause):
            raise unreadable(cause, path) from None
        raise _as_user_error(error, path) from None
    if not isinstance(content, Mapping):
        raise UserError(
            f"contains a {type(content).__name__}, expected a state dict",
            where=str(path),
            hint="Give a checkpoint or a state dict.",
        )
    return content


def unwrapped(content: Mapping[Any, Any], wrappers: Iterable[str]) -> tuple[Mapping[Any, Any], tuple[str, ...]]:
    """Return the innermost part of a file that is the value of one of the keys `wrappers`, and the keys to it.

    A file that contains itself has an end: no program nests weights more than a few levels deep.
    """
    keys: list[str] = []
    for _ in range(_MOST_WRAPPERS):
        key = next((key for key in wrappers if isinstance(content.get(key), Mapping)), None)
        if key is None:
            break
        content = content[key]
        keys.append(key)
    return content, tuple(keys)


def only_tensors(content: Mapping[Any, Any], where: str) -> dict[str, Tensor]:
    """Return the tensors of a state dict by name.

    Raises:
        UserError: it is empty, or contains other values; they are listed.
    """
    faults = [str(name) for name, value in content.items() if not (isinstance(name, str) and _is_plain(value))]
    if faults or not content:
        problem = f"contains values that are not tensors: {listed(faults, 5)}" if faults else "contains no weights"
        raise UserError(problem, where=where, hint="Give a checkpoint, or save only the state dict.")
    return {name: value.detach() for name, value in content.items()}


def require_finite(weights: Mapping[str, Tensor], where: str) -> None:
    """Check that all weights are numbers: with others, a detector finds nothing or anything, without an error.

    Args:
        weights: tensors by name, whose shapes have been checked.
        where: their file, for the message.

    Raises:
        UserError: tensors contain NaN or infinity; they are listed.
    """
    faults = [
        name
        for name, value in weights.items()
        if value.is_floating_point() and value.numel() and not torch.stack(value.aminmax()).isfinite().all()
    ]
    if faults:
        problem = f"{len(faults)} of {len(weights)} tensors contain NaN or infinity: {listed(faults, 5)}"
        hint = "The training diverged, or the file is damaged: use an earlier checkpoint."
        raise UserError(problem, where=where, hint=hint)


def _as_user_error(error: Exception, path: Path) -> UserError:
    if refused := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return UserError(
            f"contains '{refused[1]}', which is neither a tensor nor plain data; no code was executed",
            where=str(path),
            hint="If you trust the file, load it with the program that wrote it and save only its state dict.",
        )
    protocol = _pickle_protocol(path)
    if protocol is not None and protocol not in _PROTOCOLS:
        return UserError(
            f"is pickled with protocol {protocol}, which PyTorch cannot read without executing code",
            where=str(path),
            hint="If you trust the file, load it with the program that wrote it, and save its state dict with "
            "torch.save's default protocol.",
        )
    # The rest of PyTorch's message advises to disable the protection.
    reason = str(error).partition("\n")[0].partition(". ")[0] or "unexpected end"
    return UserError(
        f"cannot be read as weights ({type(error).__name__}: {reason})",
        where=str(path),
        hint="The file is damaged, incomplete or not a checkpoint: download it again.",
    )


def _pickle_protocol(path: Path) -> int | None:
    """Return the protocol that the pickle of a file declares, None if there is none."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
                with archive.open(name) as stream:
                    start = stream.read(2)
        else:
            with path.open("rb") as file:
                start = file.read(2)
    except Exception:
        # As above: the file is known to be unreadable, and this is only about the message.
        return None
    return start[1] if len(start) == 2 and start[:1] == b"\x80" else None


def _verify_archive(path: Path) -> None:
    """Verify the checksum of every record, which memory-mapping does not.

    PyTorch does not compress records, and they do not overlap: reading all of them takes no longer than the file is.
    """
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise UserError("is compressed, which PyTorch's files are not", where=str(path), hint="Unpack it.")
        if sum(record.file_size for record in records) > path.stat().st_size:
            raise UserError("is damaged: its records overlap", where=str(path), hint="Download it again.")
        if damaged := archive.testzip():
            raise UserError(
                f"is damaged: the checksum of '{damaged}' is wrong", where=str(path), hint="Download it again."
            )


def _is_plain(value: object) -> bool:
    """Return whether a value is a dense tensor in memory of its size: an expanded one would ask for more when used."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and value.nbytes <= value.untyped_storage().nbytes()
    )
