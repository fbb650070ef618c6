"""Temporary files and folders beside a result: locked while their writer lives, removed when it was killed.

A writer holds a lock (flock) on its temporary, which ends with the process however it ends. So another process can tell
what a killed one left behind, which may have the size of the weights, from what is being written. Where the file system
has no such locks, nothing is removed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

RETIRED = ".old"
"""Suffix of a folder that holds an earlier result while it is replaced."""

_TEMPORARY = re.compile(r"(\..*\.)[a-z0-9_]{8}(\.tmp|\.old)", re.DOTALL)
_LONGEST = 180
"""Bytes of the result's name in the name of the temporary: the whole must not exceed 255."""

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Yield an empty file beside `path`; afterwards it is removed, unless it has been renamed."""
    with _locked(path, ".tmp", directory=False) as temporary:
        yield temporary


@contextmanager
def temporary_directory(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """Yield an empty folder beside `path`; afterwards it is removed, unless it has been renamed."""
    with _locked(path, suffix, directory=True) as temporary:
        yield temporary


def remove_leftovers(path: Path) -> None:
    """Remove the temporaries of `path` whose writers were killed.

    If one was killed while it replaced `path` by two renames, the earlier result is restored.
    """
    for entry in _temporaries(path.parent).get(_prefix(path), ()):
        _remove_if_stale(entry, path)


def remove_leftovers_once(path: Path) -> None:
    """Remove leftovers as `remove_leftovers` does; the folder is read once in a process, as it may have many files."""
    for entry in _listed_once(path.parent).pop(_prefix(path), ()):
        _remove_if_stale(entry, path)


def remove_all_leftovers(folder: Path) -> None:
    """Remove the temporaries of all results in a folder whose writers were killed."""
    for entries in _temporaries(folder).values():
        for entry in entries:
            _remove_if_stale(entry, None)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two files or folders in one step, where the system can; return whether it was done.

    Raises:
        OSError: one of them does not exist or cannot be renamed.
    """
    if sys.platform != "linux" or (call := getattr(_libc(), "renameat2", None)) is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    # Some file systems cannot: they say that the flag is unknown.
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV):
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def remove(entry: Path) -> None:
    """Remove a file, a link or a folder with its content, if it exists."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        with suppress(OSError):
            entry.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path, suffix: str, *, directory: bool) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        if directory:
            temporary = Path(tempfile.mkdtemp(prefix=_prefix(path), suffix=suffix, dir=path.parent))
        else:
            created, name = tempfile.mkstemp(prefix=_prefix(path), suffix=suffix, dir=path.parent)
            os.close(created)
            temporary = Path(name)
        try:
            descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # Another process has taken it for a leftover before it was locked.
            continue
        except OSError:
            remove(temporary)
            raise
        if _lock(descriptor) is not False:
            break
        os.close(descriptor)
    try:
        yield temporary
    finally:
        remove(temporary)
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Lock a file or folder; return whether this worked, None where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_if_stale(entry: Path, path: Path | None) -> None:
    try:
        descriptor = os.open(entry, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        if not _lock(descriptor):
            return
        if entry.name.endswith(RETIRED) and path is not None and not path.exists():
            with suppress(OSError):
                (entry / path.name).rename(path)
        remove(entry)
    finally:
        os.close(descriptor)


def _prefix(path: Path) -> str:
    return f".{os.fsdecode(os.fsencode(path.name)[:_LONGEST])}."


def _temporaries(folder: Path) -> dict[str, list[Path]]:
    """Return the temporaries in a folder by their prefix."""
    found: dict[str, list[Path]] = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if match := _TEMPORARY.fullmatch(entry.name):
                found.setdefault(match[1], []).append(Path(entry.path))
    return found


@cache
def _listed_once(folder: Path) -> dict[str, list[Path]]:
    return _temporaries(folder)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
