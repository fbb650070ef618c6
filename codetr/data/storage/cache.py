"""A cache of images from object storage, addressed by digest; shared by all processes and datasets of a machine.

    <folder>/<first two digits>/<SHA-256 in hexadecimal>

Digests are spread evenly over the 256 folders, so each may hold a 256th of the limit, and adding an image evicts the
least recently used ones of its folder only. The modification time of a file is the time of its last use.
"""

from __future__ import annotations

import logging
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from codetr.core.errors import UserError
from codetr.core.files import sha256_bytes
from codetr.core.system.temporaries import remove_all_leftovers, temporary_file
from codetr.core.system.user_folders import user_folder

FOLDER_VARIABLE = "CODETR_IMAGE_CACHE"
LIMIT_VARIABLE = "CODETR_IMAGE_CACHE_GB"
DEFAULT_GB = 50.0

_FOLDERS = 256

logger = logging.getLogger(__name__)
_warned: set[Path] = set()


@dataclass(frozen=True)
class ImageCache:
    """A folder of images by digest, of bounded size.

    Attributes:
        folder: created with the first image.
        limit: its size in bytes; exceeded by the newest image of a sub-folder if that alone is too large.
    """

    folder: Path
    limit: int

    @classmethod
    def from_environment(cls) -> Self:
        """Return the cache in `CODETR_IMAGE_CACHE`, else in codetr/images of the user's cache folder.

        A user without a home folder has it in the folder of temporary files.

        Raises:
            UserError: the size in `CODETR_IMAGE_CACHE_GB` is not a positive number.
        """
        given = os.environ.get(FOLDER_VARIABLE)
        caches = user_folder("XDG_CACHE_HOME", ".cache") or Path(tempfile.gettempdir())
        folder = Path(given).expanduser() if given else caches / "codetr" / "images"
        text = os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_GB)
        try:
            gigabytes = float(text)
        except ValueError:
            gigabytes = 0.0
        if not 0 < gigabytes < 1e9:
            raise UserError(f"is '{text}', not a number of GB", where=f"environment variable {LIMIT_VARIABLE}")
        return cls(folder, int(gigabytes * 1e9))

    def get(self, digest: str) -> bytes | None:
        """Return the image with this digest (`sha256:<hex>`), or None."""
        path = self._path(digest)
        try:
            content = path.read_bytes()
            if sha256_bytes(content) == digest:
                with suppress(OSError):  # the cache may belong to another user
                    os.utime(path)
                return content
            path.unlink()  # after a crash of the machine, a file may be incomplete
        except OSError:
            pass
        return None

    def put(self, digest: str, content: bytes) -> None:
        """Store an image whose digest was verified. A cache that cannot be written to is logged once, and no error."""
        path = self._path(digest)
        try:
            # It is not flushed to the disk, which takes long for many files: what is incomplete is not read.
            with temporary_file(path) as temporary:
                temporary.write_bytes(content)
                temporary.replace(path)
            remove_all_leftovers(path.parent)
            self._trim(path)
        except OSError as error:
            if self.folder not in _warned:
                _warned.add(self.folder)
                reason = error.strerror or error
                logger.warning("images are not cached in %s (%s): each read downloads again", self.folder, reason)

    def _path(self, digest: str) -> Path:
        name = digest.removeprefix("sha256:")
        return self.folder / name[:2] / name

    def _trim(self, newest: Path) -> None:
        """Evict the least recently used files from the folder of `newest` until it is within its share of the limit."""
        files, total = [], 0
        with os.scandir(newest.parent) as entries:
            for entry in entries:
                if entry.name.startswith("."):  # being written
                    continue
                with suppress(FileNotFoundError):  # another process may evict it first
                    status = entry.stat()
                    files.append((status.st_mtime, status.st_size, entry.path))
                    total += status.st_size
        for _, size, path in sorted(files):
            if total <= self.limit / _FOLDERS:
                break
            if path != str(newest):
                Path(path).unlink(missing_ok=True)
                total -= size
