"""Reading files of NumPy arrays that may be damaged, or made by somebody who means no good.

`numpy.load` believes what a file says of itself: it unpacks gigabytes from what is small on disk, makes room for any
shape that a header claims, and fails with whatever zipfile, zlib or the parser of headers raises. Here sizes are
compared before anything is read, only the arrays that were asked for are, and whatever is wrong is a `UserError`.
"""

from __future__ import annotations

import math
import textwrap
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from codetr.core.errors import UserError

MOST_BYTES = 1 << 30
"""Of the arrays of one archive, unpacked. Of LVIS's validation set, with six million detections, they have 140 MB."""

_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Methods that zipfile unpacks no further than it is asked to."""

_PIECE = 1 << 20


@dataclass(frozen=True)
class Layout:
    """What an array has to be.

    Attributes:
        dtype: of its values.
        axes: how many it has.
    """

    dtype: DTypeLike
    axes: int = 1


@contextmanager
def naming_damage(path: Path, hint: str) -> Iterator[None]:
    """Make whatever goes wrong within a `UserError` that names the file.

    Args:
        path: the file that is read.
        hint: what to do; a full sentence.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError("no such file", where=str(path), hint=hint) from None
    except Exception as error:  # What damaged bytes raise, documentation does not say; a list of errors has gaps.
        reason = textwrap.shorten(str(error), 200) or type(error).__name__
        raise UserError(f"cannot be read: {reason}", where=str(path), hint=hint) from None


def read_archive(
    path: Path, layouts: Mapping[str, Layout], *, hint: str, optional: Mapping[str, Layout] | None = None
) -> dict[str, NDArray[Any]]:
    """Read arrays of an archive (.npz); whatever else is in it is not looked at.

    Args:
        path: the archive.
        layouts: of the arrays by name.
        hint: what to do when it cannot be read.
        optional: of further arrays, of which it has all or none.

    Returns:
        The arrays by name, read-only.

    Raises:
        UserError: there is no such file, it is damaged or too large, or an array is missing or another than expected.
    """
    with naming_damage(path, hint), path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        wanted = dict(layouts)
        if optional and not entries.keys().isdisjoint(optional):
            wanted |= optional
        if missing := [name for name in wanted if name not in entries]:
            raise ValueError(f"it has no array '{missing[0]}'")
        if odd := [name for name in wanted if entries[name].compress_type not in _BOUNDED]:
            raise ValueError(f"'{odd[0]}' is compressed by a method that is not used for arrays")
        size = sum(entries[name].file_size for name in wanted)
        if size > MOST_BYTES:
            raise ValueError(f"unpacked, it has {size} bytes, more than the {MOST_BYTES} that are allowed")
        return {name: _read(archive, entries[name], name, layout) for name, layout in wanted.items()}


def map_array(path: Path, *, hint: str) -> NDArray[Any]:
    """Map the numbers of an array file (.npy) into memory, read-only.

    Args:
        path: the file.
        hint: what to do when it cannot be read.

    Raises:
        UserError: there is no such file, or it is no array of numbers of the size it claims.
    """
    with naming_damage(path, hint):
        with path.open("rb") as stream:
            header = _Header.read(stream)
        if header.dtype.kind not in "biuf" or not header.shape:
            raise ValueError(f"it is an array {header.shape} of {header.dtype}, expected numbers in at least one axis")
        header.require_size("it", path.stat().st_size)
        if not header.bytes:  # A file without values cannot be mapped.
            return np.zeros(header.shape, header.dtype)
        return np.memmap(path, header.dtype, "r", header.length, header.shape, header.order)


@dataclass(frozen=True)
class _Header:
    """What stands before the values of an array.

    Attributes:
        dtype: of its values.
        shape: of the array.
        order: of its values, as NumPy calls it.
        length: of the header in bytes.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    length: int

    @classmethod
    def read(cls, stream: IO[bytes]) -> _Header:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"arrays are of version 1.0 of their format, not {version[0]}.{version[1]}")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        if any(side < 0 for side in shape):
            raise ValueError(f"no array has the shape {shape}")
        return cls(dtype, shape, "F" if fortran else "C", stream.tell())

    @property
    def bytes(self) -> int:
        """Of the values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def require_size(self, name: str, size: int) -> None:
        if self.length + self.bytes != size:
            raise ValueError(f"{name} claims to be {self.dtype} {self.shape}, but has {size} bytes with its header")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, layout: Layout) -> NDArray[Any]:
    with archive.open(entry) as stream:
        header = _Header.read(stream)
        if header.dtype != np.dtype(layout.dtype) or len(header.shape) != layout.axes:
            expected = f"{np.dtype(layout.dtype)} with {layout.axes} axes"
            raise ValueError(f"'{name}' is an array {header.shape} of {header.dtype}, expected {expected}")
        header.require_size(f"'{name}'", entry.file_size)
        content = bytearray()
        # Asked for all at once, zipfile unpacks up to two gigabytes and then takes as much as the directory claims.
        while piece := stream.read(_PIECE):
            content += piece
        return np.frombuffer(bytes(content), header.dtype).reshape(header.shape, order=header.order)
