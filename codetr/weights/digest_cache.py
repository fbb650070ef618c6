"""Digests of large files, remembered by the identity of the file, so that checking weights again costs nothing.

A file is identified by path, device, inode, size and the times of its last changes. The cache is one small JSON file in
the user's cache folder; without such a folder, or without write access to it, digests are computed every time.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from codetr.core.errors import ReportedError
from codetr.core.files import read_json, sha256_file, write_json
from codetr.core.system.user_folders import user_folder

SMALLEST = 2**26
"""Bytes below which a digest is not worth remembering: it takes a fraction of a second."""

_MOST_ENTRIES = 500
_SETTLED_NS = 2 * 10**9
"""Age from which a change of a file is sure to change its times too, whose resolution may be coarse."""


def default_cache() -> Path | None:
    """Return the cache of this user; None if the user has no folder for it."""
    folder = user_folder("XDG_CACHE_HOME", ".cache")
    return None if folder is None else folder / "codetr" / "digests.json"


def cached_digest(path: Path, *, cache: Path | None = None, smallest: int = SMALLEST) -> str:
    """Return the SHA-256 of a file, as `sha256_file` does, without reading an unchanged large file again.

    Args:
        path: the file.
        cache: file of the remembered digests, by default the user's.
        smallest: size in bytes from which digests are remembered.
    """
    cache = cache or default_cache()
    if cache is None or path.stat().st_size < smallest:
        return sha256_file(path)
    key, identity = str(path.resolve()), _identity(path)
    known = _read(cache).get(key)
    if isinstance(known, list) and known[:-1] == identity and isinstance(known[-1], str):
        return known[-1]
    digest = sha256_file(path)
    if _identity(path) == identity and time.time_ns() - max(identity[-2:]) > _SETTLED_NS:
        entries = {name: entry for name, entry in _read(cache).items() if name != key} | {key: [*identity, digest]}
        with suppress(OSError, ReportedError):
            write_json(cache, dict(list(entries.items())[-_MOST_ENTRIES:]))
    return digest


def _identity(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _read(cache: Path) -> dict[str, Any]:
    """Return the remembered entries, none if the file is missing or damaged."""
    try:
        entries = read_json(cache) if cache.is_file() else {}
    except (ReportedError, OSError):
        return {}
    return entries if isinstance(entries, dict) else {}
