"""Temporary files and folders beside a result: locked while their writer lives, removed when it was killed.

A writer holds a lock (flock) on its temporary, which ends with the process however it ends. So another process can tell
what a killed one left behind, which may have the size of the weights, from what is being written. Where the file system
has no such locks, nothing is removed.

On NFS a lock of a folder, and with the mount option `local_lock` or `nolock` also that of a file, is known to its
machine only. So the name of a temporary has the machine in it, `.model.<machine>-<random>.tmp`, and those of other
machines are removed only when they are so old that no process can be writing them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

RETIRED = ".old"
"""Suffix of a folder that holds an earlier result while it is replaced."""

_TEMPORARY = re.compile(r"\.(?P<result>[^/]+)\.(?P<machine>[0-9a-f]{8})-[a-z0-9_]{8}\.(?:tmp|old)", re.DOTALL)
_IN_PATH = re.compile(rf"(^|/){_TEMPORARY.pattern}(?=/|$)", re.DOTALL)
_LONGEST = 180
"""Bytes of the result's name in the name of the temporary: the whole must not exceed 255."""

_WRITING, _REPLACING = 24 * 3600.0, 60.0
"""Seconds after which a temporary of another machine, or one with an earlier result, was left by a killed process."""

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


@contextmanager
def scratch_directory(name: str) -> Iterator[Path]:
    """Yield an empty folder in the system's folder for temporary files, and remove it afterwards.

    Those of processes that were killed are removed first.

    Args:
        name: what the folder holds, the same for all processes that use it so.
    """
    path = Path(tempfile.gettempdir()) / name
    remove_leftovers(path)
    with temporary_directory(path) as temporary:
        yield temporary


def remove_leftovers(path: Path) -> None:
    """Remove the temporaries of `path` whose writers were killed.

    If one was killed while it replaced `path` by two renames, the earlier result is restored.
    """
    _sweep(_temporaries(path.parent).get(_shortened(path), ()))


def remove_leftovers_once(path: Path) -> None:
    """Remove leftovers as `remove_leftovers` does; the folder is read once in a process, as it may have many files."""
    _sweep(_listed_once(path.parent).pop(_shortened(path), ()))


def remove_all_leftovers(folder: Path, *, sole_writer: bool = False) -> None:
    """Remove the temporaries of all results in a folder as `remove_leftovers` does.

    Args:
        folder: with the results.
        sole_writer: this process holds a lock on the folder, so whatever is there was left behind.
    """
    for entries in _temporaries(folder).values():
        _sweep(entries, sole_writer=sole_writer)


def without_temporaries(path: str) -> str:
    """Return a path with the results' names for the temporaries in it."""
    return _IN_PATH.sub(r"\1\g<result>", path)


@cache
def machine() -> str:
    """Return what the names of temporaries of this machine, or container, have in common: 8 hexadecimal digits."""
    return hashlib.sha256(os.fsencode(socket.gethostname())).hexdigest()[:8]


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
    prefix = f".{_shortened(path)}.{machine()}-"
    while True:
        if directory:
            temporary = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=path.parent))
        else:
            created, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
            os.close(created)
            temporary = Path(name)
        try:
            descriptor = _open(temporary)
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


def _open(temporary: Path) -> int:
    """Open a temporary to lock it: for writing if it is a file, as the locks of NFS require."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(temporary, os.O_RDWR | flags)
    except (IsADirectoryError, PermissionError):
        return os.open(temporary, os.O_RDONLY | flags)


def _sweep(entries: Iterable[Path], *, sole_writer: bool = False) -> None:
    """Remove those of some temporaries that were left behind; what was moved into one to be replaced is restored."""
    for entry in entries:
        try:
            descriptor = _open(entry)
        except OSError:
            continue
        try:
            if sole_writer or (_lock(descriptor) and _was_left(entry, descriptor)):
                if entry.name.endswith(RETIRED):
                    _restore(entry)
                remove(entry)
        finally:
            os.close(descriptor)


def _was_left(entry: Path, descriptor: int) -> bool:
    """Return whether no process is writing a temporary that none of this machine has locked."""
    match = _TEMPORARY.fullmatch(entry.name)
    if match is not None and match["machine"] == machine():
        return True
    age = time.time() - os.fstat(descriptor).st_mtime
    return age > (_REPLACING if entry.name.endswith(RETIRED) else _WRITING)


def _restore(retired: Path) -> None:
    """Move an earlier result back, unless the new one has taken its place."""
    with suppress(OSError):
        for earlier in retired.iterdir():
            if not (retired.parent / earlier.name).exists():
                earlier.rename(retired.parent / earlier.name)


def _shortened(path: Path) -> str:
    """Return as much of a result's name as the name of its temporary has."""
    return os.fsdecode(os.fsencode(path.name)[:_LONGEST])


def _temporaries(folder: Path) -> dict[str, list[Path]]:
    """Return the temporaries in a folder by the shortened name of their result."""
    found: dict[str, list[Path]] = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if match := _TEMPORARY.fullmatch(entry.name):
                found.setdefault(match["result"], []).append(Path(entry.path))
    return found


@cache
def _listed_once(folder: Path) -> dict[str, list[Path]]:
    return _temporaries(folder)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
