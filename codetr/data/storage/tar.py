"""Images in uncompressed tar files ("shards", as WebDataset has them): found once, then read in place, never extracted.

`prepare` goes through the headers of every shard and notes where each regular file begins; the index of a dataset keeps
that, so opening one needs no tar file, and reading an image is one read at its offset.
"""

from __future__ import annotations

import io
import os
import posixpath
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError
from codetr.data.images import IMAGE_SUFFIXES
from codetr.data.storage.paths import NoFileError, UnsafePathError, require_harmless, spellings

SUFFIX = ".tar"

MAX_HEADER_BYTES = 1 << 20
"""Upper bound of a name or extended header within a tar file; a lying one would ask for as much memory as it likes."""

ARRAYS = {
    "shards": "int32 (n,): which of the tar files below the image is in; -1 for a file of its own",
    "shard_offsets": "int64 (n,): the byte of the tar file at which the image begins",
    "shard_names": "uint8: the tar files, UTF-8, relative to their image folder, one after the other",
    "shard_name_offsets": "int64 (k + 1,)",
}
"""Arrays of an index, only where images are in tar files."""

_BLOCK = 512


@dataclass(frozen=True)
class Member:
    """An image in a tar file.

    Attributes:
        name: its name in it.
        shard: the tar file, relative to the image folder, with `/`; empty if it takes the folder's place.
        offset: the byte at which it begins.
        size: bytes.
    """

    name: str
    shard: str
    offset: int
    size: int


class AmbiguousNameError(ValueError):
    """Several members have this name; the message says in which tar files."""


def is_sharded(root: Path) -> bool:
    """Whether images are in tar files: `root` is one, or a folder with some, and with neither images nor folders."""
    if not root.is_dir():
        return root.suffix.lower() == SUFFIX
    found = False
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir() or Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
                return False
            found = found or Path(entry.name).suffix.lower() == SUFFIX
    return found


class Shards:
    """The members of the tar files at one place, by name.

    Args:
        root: a tar file, or a folder with some directly in it; resolved.

    Raises:
        UserError: a file that is no uncompressed tar file, damaged, cut short, or led to by a link out of the folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._members: dict[str, Member] = {}
        self._repeated: dict[str, list[Member]] = {}
        files = [root]
        if root.is_dir():
            files = sorted(path for path in root.iterdir() if path.suffix.lower() == SUFFIX and path.name[0] != ".")
        for file in files:
            # First of all: a link that leads to itself cannot be resolved.
            if not file.is_file():
                raise UserError("is no file that can be read in place", where=str(file))
            if not file.resolve().is_relative_to(root):
                raise UserError("leads out of the image folder", where=str(file), hint="Put the tar file itself there.")
            for member in _members(file, "" if file == root else file.name):
                first = self._members.setdefault(member.name, member)
                if first is not member:
                    self._repeated.setdefault(member.name, [first]).append(member)

    def find(self, name: str) -> Member:
        """Return the member that an annotation file calls `name`, tried in the spellings of `storage.paths`.

        Raises:
            UnsafePathError: the name must not be followed.
            AmbiguousNameError: several members have it.
            NoFileError: there is none, or it is no regular file.
        """
        require_harmless(name)
        for spelling in spellings(name):
            known = posixpath.normpath(spelling)
            if known.split("/")[0] == "..":
                raise UnsafePathError("leads out of the image folder")
            if known in self._repeated:
                places = [member.shard or self._root.name for member in self._repeated[known]]
                raise AmbiguousNameError(f"is in {' and in '.join(places)}")
            if known in self._members:
                return self._members[known]
        raise NoFileError("no such file")

    def read(self, member: Member) -> bytes:
        """The content of a member.

        Raises:
            OSError: it cannot be read.
        """
        return read_member(shard_path(self._root, member.shard), member)


def shard_path(root: Path, shard: str) -> Path:
    """The tar file of an image folder, or the tar file that stands in its place."""
    return root / shard if shard else root


def read_member(file: Path, member: Member) -> bytes:
    """The content of a member of the tar file `file`, or less where the file ends before it.

    Raises:
        OSError: the file cannot be read.
    """
    # Means nothing to files; of a pipe that took a file's place it opens the end without waiting for the other.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.pread(descriptor, member.size, member.offset)
    finally:
        os.close(descriptor)


class _HasMember(Protocol):
    @property
    def member(self) -> Member | None: ...


def shard_arrays(images: Sequence[_HasMember]) -> dict[str, NDArray[Any]]:
    """The arrays of `ARRAYS` for the images of a split; none if no image is in a tar file."""
    members = [image.member for image in images]
    known = sorted({member.shard for member in members if member})
    if not known:
        return {}
    numbers = {shard: number for number, shard in enumerate(known)}
    names = [shard.encode() for shard in known]
    return {
        "shards": np.array([numbers[member.shard] if member else -1 for member in members], np.int32),
        "shard_offsets": np.array([member.offset if member else 0 for member in members], np.int64),
        "shard_names": np.frombuffer(b"".join(names), np.uint8),
        "shard_name_offsets": np.cumsum([0, *map(len, names)], dtype=np.int64),
    }


def shard_lengths(arrays: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """The lengths that the arrays of `ARRAYS` must have to fit together."""
    images, last = len(arrays["image_ids"]), int(arrays["shards"].max(initial=-1))
    return {"shards": images, "shard_offsets": images, "shard_name_offsets": last + 2}


def stored_member(arrays: Mapping[str, NDArray[Any]], i: int, name: str) -> Member | None:
    """Where image `i` of an index is; None for a file of its own.

    Args:
        arrays: all of the index.
        i: the image.
        name: its path within its image folder.
    """
    if "shards" not in arrays or (number := int(arrays["shards"][i])) < 0:
        return None
    start, stop = arrays["shard_name_offsets"][number : number + 2]
    shard = arrays["shard_names"][start:stop].tobytes().decode()
    return Member(name, shard, int(arrays["shard_offsets"][i]), int(arrays["file_sizes"][i]))


class _Headers(io.FileIO):
    """A tar file of which only headers are read: nothing large at once, and not on and on behind the end."""

    _ended = False

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        content = super().read(size) or b""
        if not content and size and self._ended:
            raise tarfile.ReadError("it was cut short")
        self._ended = not content
        return content


def _members(file: Path, shard: str) -> Iterator[Member]:
    """Every regular file with a harmless name in a tar file; links, devices and sparse files are left out."""
    where = str(file)
    try:
        size = file.stat().st_size
        with _Headers(file) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            behind = -1
            while (entry := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # which would keep every header in memory
                # Of a header that lies about sizes, the next may be anywhere; reading would never end.
                if archive.offset <= behind or entry.size < 0 or entry.offset_data < 0:
                    raise tarfile.ReadError(f"the header at byte {entry.offset} is impossible")
                behind = archive.offset
                if not entry.isreg() or entry.issparse():
                    continue
                if entry.offset_data + entry.size > size:
                    raise tarfile.ReadError("it was cut short")
                name = posixpath.normpath(entry.name)
                if _is_harmless(name):
                    yield Member(name, shard, entry.offset_data, entry.size)
            stream.seek(archive.offset)
            if stream.read(_BLOCK).strip(b"\0"):
                raise tarfile.ReadError(f"there is no header at byte {archive.offset}")
            while rest := stream.read(MAX_HEADER_BYTES):
                if rest.strip(b"\0"):
                    hint = "Join tar files with `tar --concatenate`, or keep each as a file of its own."
                    problem = "has more behind its end, as tar files joined by `cat` have"
                    raise UserError(problem, where=where, hint=hint)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        hint = "Images are read from tar files that are whole, single and not compressed (pack them with `tar -cf`)."
        raise UserError(f"is not a tar file that can be read: {error}", where=where, hint=hint) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}", where=where) from None


def _is_harmless(name: str) -> bool:
    try:
        require_harmless(name)
    except UnsafePathError:
        return False
    return name.split("/", maxsplit=1)[0] != ".."
