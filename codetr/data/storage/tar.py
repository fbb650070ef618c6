"""Read images in uncompressed tar files ("shards", as in WebDataset): located once, read in place, never extracted.

`prepare` scans the headers of every shard for the offset of each regular file. The index of a dataset stores them, so
opening it needs no tar file, and reading an image is one read at its offset.
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
from codetr.core.system.os_errors import unreadable
from codetr.data.images import IMAGE_SUFFIXES
from codetr.data.storage.links import LINK_HINT, NO_TARGETS, LinkTargets
from codetr.data.storage.paths import NoFileError, UnsafePathError, require_safe_name, spelling_variants

SUFFIX = ".tar"

MAX_HEADER_BYTES = 1 << 20
"""Upper bound of a name or extended header in a tar file: a forged size must not decide how much memory is taken."""

ARRAYS = {
    "shards": "int32 (n,): which of the tar files below has the image; -1 for a plain file",
    "shard_offsets": "int64 (n,): byte offset of the image in the tar file",
    "shard_names": "uint8: the tar files, UTF-8, relative to their image folder, concatenated",
    "shard_name_offsets": "int64 (k + 1,)",
}
"""Further arrays of an index, only where images are in tar files."""

_BLOCK = 512


@dataclass(frozen=True)
class Member:
    """An image in a tar file.

    Attributes:
        name: of the member.
        shard: the tar file, relative to the image folder, with `/`; empty if the tar file is the image folder.
        offset: of its first byte in the tar file.
        file_size: in bytes.
    """

    name: str
    shard: str
    offset: int
    file_size: int


class AmbiguousNameError(ValueError):
    """Several members have this name; the message names the tar files."""


def is_sharded(root: Path) -> bool:
    """Return whether `root` is a tar file, or a folder with tar files and with neither images nor folders."""
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
    """The members of a tar file, or of all tar files of a folder, by name.

    Args:
        root: a tar file, or a folder with tar files directly in it; resolved.
        links: where symbolic links to tar files may lead.

    Raises:
        UserError: a file is not an uncompressed tar file, damaged, truncated, or a link out of the folder.
    """

    def __init__(self, root: Path, links: LinkTargets = NO_TARGETS) -> None:
        self._root = root
        self._members: dict[str, Member] = {}
        self._repeated: dict[str, list[Member]] = {}
        files = [root]
        if root.is_dir():
            files = sorted(path for path in root.iterdir() if path.suffix.lower() == SUFFIX and path.name[0] != ".")
        for file in files:
            # Checked first: a link to itself cannot be resolved.
            if not file.is_file():
                raise UserError("is not a regular file", where=str(file))
            if not links.allow(root, file.resolve()):
                raise UserError("leads out of the image folder", where=str(file), hint=LINK_HINT)
            for member in _members(file, "" if file == root else file.name):
                first = self._members.setdefault(member.name, member)
                if first is not member:
                    self._repeated.setdefault(member.name, [first]).append(member)

    @property
    def names(self) -> list[str]:
        """The names that one member has, in alphabetical order."""
        return sorted(self._members.keys() - self._repeated.keys())

    def find(self, name: str) -> Member:
        """Return the member that an annotation file calls `name`, in any spelling of `spelling_variants`.

        Raises:
            UnsafePathError: the name must not be followed.
            AmbiguousNameError: several members have this name.
            NoFileError: there is no such regular file.
        """
        require_safe_name(name)
        for spelling in spelling_variants(name):
            known = posixpath.normpath(spelling)
            if known.split("/")[0] == "..":
                raise UnsafePathError("leads out of the image folder")
            if known in self._repeated:
                shards = [member.shard or self._root.name for member in self._repeated[known]]
                raise AmbiguousNameError(f"is in {' and in '.join(shards)}")
            if known in self._members:
                return self._members[known]
        raise NoFileError("no such file")

    def read(self, member: Member) -> bytes:
        """Return the content of a member.

        Raises:
            OSError: it cannot be read.
        """
        return read_member(shard_path(self._root, member.shard), member)


def shard_path(root: Path, shard: str) -> Path:
    """Return the tar file `shard` of an image folder, or the tar file that is the image folder."""
    return root / shard if shard else root


def read_member(file: Path, member: Member) -> bytes:
    """Return the content of a member of the tar file `file`, less of it if the file has become shorter.

    Raises:
        OSError: the file cannot be read.
    """
    # O_NONBLOCK has no effect on files; it avoids waiting for a writer if the path has become a pipe.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.pread(descriptor, member.file_size, member.offset)
    finally:
        os.close(descriptor)


class _HasMember(Protocol):
    @property
    def member(self) -> Member | None: ...


def shard_arrays(images: Sequence[_HasMember]) -> dict[str, NDArray[Any]]:
    """Return the arrays of `ARRAYS` for the images of a split; none if no image is in a tar file."""
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
    """Return the lengths that the arrays of `ARRAYS` must have to be consistent."""
    images, last = len(arrays["image_ids"]), int(arrays["shards"].max(initial=-1))
    return {"shards": images, "shard_offsets": images, "shard_name_offsets": last + 2}


def stored_member(arrays: Mapping[str, NDArray[Any]], i: int, name: str) -> Member | None:
    """Return the location of image `i` of an index in a tar file; None for a plain file.

    Args:
        arrays: all arrays of the index.
        i: index of the image.
        name: its path within its image folder.
    """
    if "shards" not in arrays or (number := int(arrays["shards"][i])) < 0:
        return None
    start, stop = arrays["shard_name_offsets"][number : number + 2]
    shard = arrays["shard_names"][start:stop].tobytes().decode()
    return Member(name, shard, int(arrays["shard_offsets"][i]), int(arrays["file_sizes"][i]))


class _Headers(io.FileIO):
    """A tar file of which only headers are read: in small pieces, and not beyond the end."""

    _ended = False

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        content = super().read(size) or b""
        if not content and size and self._ended:
            raise tarfile.ReadError("it is truncated")
        self._ended = not content
        return content


def _members(file: Path, shard: str) -> Iterator[Member]:
    """Yield every regular file with a safe name in a tar file; links, devices and sparse files are left out."""
    where = str(file)
    try:
        size = file.stat().st_size
        with _Headers(file) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            previous_end = -1
            while (entry := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep every header in memory
                # After a forged size the next header may be anywhere, and reading might never end.
                if archive.offset <= previous_end or entry.size < 0 or entry.offset_data < 0:
                    raise tarfile.ReadError(f"the header at byte {entry.offset} is invalid")
                previous_end = archive.offset
                if not entry.isreg() or entry.issparse():
                    continue
                if entry.offset_data + entry.size > size:
                    raise tarfile.ReadError("it is truncated")
                name = posixpath.normpath(entry.name)
                if _is_safe_name(name):
                    yield Member(name, shard, entry.offset_data, entry.size)
            stream.seek(archive.offset)
            if stream.read(_BLOCK).strip(b"\0"):
                raise tarfile.ReadError(f"there is no header at byte {archive.offset}")
            while rest := stream.read(MAX_HEADER_BYTES):
                if rest.strip(b"\0"):
                    hint = "Join tar files with `tar --concatenate`, or keep them separate."
                    problem = "has content after its end, as tar files joined by `cat` do"
                    raise UserError(problem, where=where, hint=hint)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        hint = "Images are read from complete tar files without compression (create them with `tar -cf`)."
        raise UserError(f"is not a readable tar file: {error}", where=where, hint=hint) from None
    except OSError as error:
        raise unreadable(error, where) from None


def _is_safe_name(name: str) -> bool:
    try:
        require_safe_name(name)
    except UnsafePathError:
        return False
    return name.split("/", maxsplit=1)[0] != ".."
