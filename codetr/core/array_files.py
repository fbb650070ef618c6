"""Read and write files of NumPy arrays that may be damaged or come from an untrusted source.

Archives are safetensors: a file cannot claim more than it holds, is never unpacked and holds numbers alone. A checksum
in it finds bits that changed on disk or in transit. Single arrays of an index are `.npy`, mapped into memory. Whatever
is wrong with a file raises `UserError`.
"""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors import safe_open
from safetensors.numpy import save

from codetr.core.errors import ReportedError, UserError
from codetr.core.files import atomic_file
from codetr.core.system.os_errors import underlying_error, unreadable

_CHECKSUM = "sha256"


@dataclass(frozen=True)
class ArraySpec:
    """Type and dimensions that an array must have.

    Attributes:
        dtype: type of its values.
        ndim: number of its axes.
    """

    dtype: DTypeLike
    ndim: int = 1


@contextmanager
def as_user_error(path: Path, hint: str) -> Iterator[None]:
    """Raise any exception of the block as an error to report that names the file.

    Args:
        path: the file that is read.
        hint: what to do; a full sentence.
    """
    try:
        yield
    except ReportedError:
        raise
    except Exception as error:  # Libraries do not document what damaged bytes raise; a list of errors has gaps.
        cause = underlying_error(error)
        if isinstance(cause, OSError):
            raise unreadable(cause, path, hint=hint) from None
        reason = textwrap.shorten(str(error), 200) or type(error).__name__
        raise UserError(f"cannot be read: {reason}", where=str(path), hint=hint) from None


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as a safetensors file, atomically; equal arrays give equal bytes.

    Raises:
        OSError: the file cannot be written.
    """
    contiguous = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    content = save(contiguous, metadata={_CHECKSUM: _checksum(contiguous)})
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def read_arrays(
    path: Path, specs: Mapping[str, ArraySpec], *, hint: str, optional: Mapping[str, ArraySpec] | None = None
) -> dict[str, NDArray[Any]]:
    """Read the arrays that `write_arrays` wrote.

    Args:
        path: the file.
        specs: of the arrays by name.
        hint: what to do when it cannot be read.
        optional: of further arrays, of which the file has all or none.

    Returns:
        The arrays by name.

    Raises:
        UserError: there is no such file, it is damaged, or an array is missing, unknown or of another type.
    """
    with as_user_error(path, hint), path.open("rb"), safe_open(path, framework="numpy") as file:
        names = set(file.keys())
        expected = dict(specs)
        if optional and not names.isdisjoint(optional):
            expected |= optional
        if missing := [name for name in expected if name not in names]:
            raise ValueError(f"it has no array '{missing[0]}'")
        if unknown := sorted(names - expected.keys()):
            raise ValueError(f"it has an unknown array '{unknown[0]}'")
        arrays = {name: file.get_tensor(name) for name in expected}
        for name, spec in expected.items():
            array = arrays[name]
            if array.dtype != np.dtype(spec.dtype) or array.ndim != spec.ndim:
                description = f"{np.dtype(spec.dtype)} with {spec.ndim} axes"
                raise ValueError(f"'{name}' is an array {array.shape} of {array.dtype}, expected {description}")
        if (file.metadata() or {}).get(_CHECKSUM) != _checksum(arrays):
            raise ValueError("its checksum does not match, so the file is damaged")
        return arrays


def map_array(path: Path, *, hint: str) -> NDArray[Any]:
    """Map the numbers of an array file (.npy) into memory, read-only.

    Args:
        path: the file.
        hint: what to do when it cannot be read.

    Raises:
        UserError: there is no such file, or it is not an array of numbers of the size it claims.
    """
    # A shape beyond 64 bits must be an error, not a small array.
    with as_user_error(path, hint), np.errstate(over="raise"):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.memmap):
            raise ValueError("it is an archive, expected a single array")
        if array.dtype.kind not in "biuf" or not array.ndim:
            raise ValueError(f"it is an array {array.shape} of {array.dtype}, expected numbers in at least one axis")
        size = path.stat().st_size
        if array.offset + array.nbytes != size:
            raise ValueError(f"it claims to be {array.dtype} {array.shape}, but has {size} bytes with its header")
        return array


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return a digest of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()
