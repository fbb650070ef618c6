"""Images from afar, kept on this machine by their digest; shared by all processes and datasets.

    <folder>/<first two digits>/<SHA-256 in hexadecimal>

Digests are spread evenly over the 256 folders, so each may hold a 256th of the limit, and who adds an image has to look
at its own folder only to remove what was not used for longest. A file's time of modification says when it was used.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from codetr.core.errors import UserError
from codetr.core.files import sha256_bytes

FOLDER_VARIABLE = "CODETR_IMAGE_CACHE"
LIMIT_VARIABLE = "CODETR_IMAGE_CACHE_GB"
DEFAULT_GB = 50.0

_FOLDERS = 256
_ABANDONED_SECONDS = 3600

logger = logging.getLogger(__name__)
_warned: set[Path] = set()


@dataclass(frozen=True)
class ImageCache:
    """A folder of images by digest, of bounded size.

    Attributes:
        folder: made when the first image comes.
        limit: bytes it may have in all; exceeded by the newest image of each sub-folder if that alone is too large.
    """

    folder: Path
    limit: int

    @classmethod
    def from_environment(cls) -> Self:
        """The cache that the environment names: `CODETR_IMAGE_CACHE`, else codetr/images in the user's cache folder.

        Raises:
            UserError: the size in `CODETR_IMAGE_CACHE_GB` is no positive number.
        """
        given = os.environ.get(FOLDER_VARIABLE)
        caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        folder = Path(given) if given else Path(caches) / "codetr" / "images"
        text = os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_GB)
        try:
            gigabytes = float(text)
        except ValueError:
            gigabytes = 0.0
        if not 0 < gigabytes < 1e9:
            raise UserError(f"is '{text}', not a number of GB", where=f"environment variable {LIMIT_VARIABLE}")
        return cls(folder.expanduser(), int(gigabytes * 1e9))

    def get(self, digest: str) -> bytes | None:
        """The image of this digest (`sha256:<hex>`), or None."""
        path = self._path(digest)
        try:
            content = path.read_bytes()
            if sha256_bytes(content) == digest:
                with suppress(OSError):  # in a cache that another user keeps
                    os.utime(path)
                return content
            path.unlink()  # as after a crash of the machine, which may leave less of a file than was written
        except OSError:
            pass
        return None

    def put(self, digest: str, content: bytes) -> None:
        """Keep an image whose digest was verified. A cache that cannot be written to is said once, and no error."""
        path = self._path(digest)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".", dir=path.parent)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(content)
                Path(name).replace(path)
            finally:
                Path(name).unlink(missing_ok=True)
            self._trim(path)
        except OSError as error:
            if self.folder not in _warned:
                _warned.add(self.folder)
                reason = error.strerror or error
                logger.warning("images are not cached in %s (%s): every one is fetched each time", self.folder, reason)

    def _path(self, digest: str) -> Path:
        name = digest.removeprefix("sha256:")
        return self.folder / name[:2] / name

    def _trim(self, newest: Path) -> None:
        """Remove what was not used for longest from the folder of `newest` until it has its share of the limit."""
        files, total, now = [], 0, time.time()
        with os.scandir(newest.parent) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process trims, too
                    status = entry.stat()
                    if not entry.name.startswith("."):
                        files.append((status.st_mtime, status.st_size, entry.path))
                        total += status.st_size
                    elif now - status.st_mtime > _ABANDONED_SECONDS:  # by a process that was killed
                        Path(entry.path).unlink(missing_ok=True)
        for _, size, path in sorted(files):
            if total <= self.limit / _FOLDERS:
                break
            if path != str(newest):
                Path(path).unlink(missing_ok=True)
                total -= size
