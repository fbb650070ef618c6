"""Where the images of a source are while they are checked: files in a folder, or members of tar files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from codetr.data.paths import resolve_image
from codetr.data.shards import Member, Shards, is_sharded
from codetr.errors import UserError

MAX_BYTES = 1 << 30
"""Upper bound of one image file; the largest image that is decoded has no more bytes before compression."""


@dataclass(frozen=True)
class Found:
    """An image that an annotation file names.

    Attributes:
        path: relative to the image folder, with `/`; or its name in the tar file.
        member: where it is in a tar file; None for a file of its own.
    """

    path: str
    member: Member | None = None


class ImagePlace:
    """The images of one source; safe to use from several threads.

    Args:
        root: the image folder, a folder of tar files, or a tar file.

    Raises:
        UserError: there is nothing at `root`, or tar files that cannot be read.
    """

    def __init__(self, root: Path) -> None:
        if not (root.is_dir() or (root.is_file() and is_sharded(root))):
            raise UserError("no such image folder" if not root.exists() else "is not a folder", where=str(root))
        self._root = root.resolve()
        self._shards = Shards(self._root) if is_sharded(self._root) else None

    def find(self, name: str) -> Found:
        """The image that an annotation file calls `name`.

        Raises:
            UnsafePathError: the name must not be followed.
            AmbiguousNameError: it is in several tar files.
            NoFileError: there is none.
        """
        if self._shards is None:
            return Found(resolve_image(self._root, name))
        member = self._shards.find(name)
        return Found(member.name, member)

    def read(self, found: Found) -> bytes:
        """The content of an image file.

        Raises:
            UserError: it has more than `MAX_BYTES`.
            OSError: it cannot be read.
        """
        if found.member is not None and self._shards is not None:
            _require_size(found.member.size, found.path)
            return self._shards.read(found.member)
        with (self._root / found.path).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            _require_size(size, found.path)
            return stream.read(size)


def _require_size(size: int, path: str) -> None:
    if size > MAX_BYTES:
        raise UserError(f"is larger than {MAX_BYTES >> 30} GiB", where=path)
