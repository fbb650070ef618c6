"""Write files atomically, and read them with errors that name the file.

A file or folder is written beside its destination under a temporary name, flushed to disk and renamed. So a reader
never sees an incomplete one, not even after the writer was killed. Temporaries that a killed writer left are removed
by the next one of the same result.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from codetr.core.errors import ReportedError, UserError
from codetr.core.system.os_errors import underlying_error, unreadable
from codetr.core.system.temporaries import (
    RETIRED,
    exchange,
    remove_leftovers,
    remove_leftovers_once,
    temporary_directory,
    temporary_file,
)


def sync(path: Path) -> None:
    """Flush a file's or folder's content to the disk, so that a rename never precedes it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on error it is removed.

    A device or a pipe at `path`, e.g. /dev/stdout, is not replaced: it is written.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with tempfile.TemporaryDirectory() as folder:
            content = Path(folder) / path.name
            yield content
            with content.open("rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
        return
    remove_leftovers_once(path)
    with temporary_file(path) as temporary, _named(path, temporary):
        yield temporary
        # Temporary files are private; a result has the mode of any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it replaces `path`.

    An existing folder at `path` is replaced as a whole; it stays untouched when the body fails. Where the system can,
    the two are exchanged in one step, so that there is a result at `path` at any time.
    """
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    remove_leftovers(path)
    with temporary_directory(path) as temporary, _named(path, temporary):
        temporary.chmod(0o755)
        yield temporary
        for entry in (temporary, *temporary.rglob("*")):
            if entry.is_file() or entry.is_dir():
                sync(entry)
        if not path.exists():
            temporary.rename(path)
        elif not exchange(temporary, path):
            _replace_by_two_renames(temporary, path)
        sync(path.parent)


@contextmanager
def _named(path: Path, temporary: Path) -> Iterator[None]:
    """Name the result in errors of writing, which do not know the name of the file that they wrote to.

    Errors of libraries because the system did not let them write become errors of the system.
    """
    try:
        yield
    except ReportedError:
        raise
    except Exception as error:
        cause = underlying_error(error, temporary)
        if isinstance(cause, OSError) and cause.errno is not None and cause.filename is None:
            cause.filename = str(path)
        if cause is error:
            raise
        raise cause from None


def refuse_unreadable(error: OSError) -> None:
    """Raise an error that `os.walk` passes to `onerror` as a message; without it, folders are left out silently."""
    raise unreadable(error, error.filename)


def _replace_by_two_renames(new: Path, path: Path) -> None:
    """Replace a folder where two cannot be exchanged; `remove_leftovers` restores it after a kill in between."""
    with temporary_directory(path, RETIRED) as retired:
        path.rename(retired / path.name)
        try:
            new.rename(path)
        except OSError:
            # Another process created a folder in between; otherwise the old folder is restored.
            if not path.exists():
                (retired / path.name).rename(path)
            raise


def require_replaceable(path: Path, what: str, names: Callable[[Path], Collection[str] | None]) -> None:
    """Raise `UserError` unless `atomic_directory(path)` can write, and would replace nothing but an earlier result.

    An output folder is replaced as a whole. A command that is given a folder of images by mistake would delete them,
    so every command that writes a folder checks it here first.

    Args:
        path: the output folder.
        what: what is going to be written, for the message.
        names: returns the names that an earlier result of the same command has in a folder that is not empty; None if
            the folder is no such result. A folder with other names in it is not replaced.
    """
    hint = "Give another output folder."
    if path.is_dir():
        if os.path.ismount(path) or path.resolve() == Path.cwd():
            problem = "is a mounted or the current folder, which cannot be replaced as a whole"
            raise UserError(problem, where=str(path), hint="Give a folder within it.")
        found = sorted(entry.name for entry in path.iterdir())
        earlier = names(path) if found else ()
        if earlier is None:
            raise UserError(f"is not empty and no earlier {what}: it is not replaced", where=str(path), hint=hint)
        if foreign := [name for name in found if name not in earlier]:
            problem = f"holds '{foreign[0]}', which is no part of the earlier {what}: the folder is not replaced"
            raise UserError(problem, where=str(path), hint="Move it elsewhere, or give another output folder.")
    elif path.exists():
        raise UserError("is a file, expected a folder to write to", where=str(path), hint=hint)
    require_creatable(path)


def require_writable_file(path: Path) -> None:
    """Raise `UserError` unless `atomic_file(path)` can write; commands that work for minutes check it before.

    A device or a pipe at `path` is accepted: opening one to see whether it can be written has effects.
    """
    if path.is_dir():
        raise UserError("is a folder, expected a file to write to", where=str(path))
    if path.is_file() or not path.exists():
        require_creatable(path)


def require_creatable(path: Path) -> None:
    """Raise `UserError` unless a file or folder can be created at `path`, with the folders above it."""
    _require_writable(path.absolute().parents, path)


def require_writable_folder(path: Path) -> None:
    """Raise `UserError` unless files can be created in a folder, which need not exist yet."""
    _require_writable([path.absolute(), *path.absolute().parents], path)


def _require_writable(folders: Iterable[Path], path: Path) -> None:
    """Raise `UserError` about `path` unless the first of the folders that exists can be written to."""
    parent = next(folder for folder in folders if folder.exists())
    effective = os.access in os.supports_effective_ids  # the ids with which files are opened
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK, effective_ids=effective):
        hint = "Give another path, or change the permissions of the folder."
        raise UserError(f"cannot be created: {parent} is not a writable folder", where=str(path), hint=hint)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, *, indent: int | None = 2) -> None:
    """Write `value` as JSON, atomically; NaN and infinity are refused, because JSON cannot represent them."""
    write_text(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file cannot be read, is not UTF-8 or not JSON; the message names the line and column.
        RunFailed: the disk or the server of the file fails.
    """
    try:
        text = read_regular_file(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8 text (byte {error.start})", where=str(path)) from None
    except OSError as error:
        raise unreadable(error, path) from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"is not valid JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        raise UserError(problem, where=str(path)) from None
    except ValueError as error:  # An integer of more digits than Python converts.
        raise UserError(f"is not valid JSON: {error}", where=str(path)) from None
    except RecursionError:
        raise UserError("is nested too deeply to be read", where=str(path)) from None


def open_regular_file(path: Path) -> BinaryIO:
    """Open a file for reading that is no pipe or device: reading one of those may never end.

    Raises:
        UserError: it is a pipe, a socket or a device.
        OSError: it cannot be opened, or it is a folder.
    """
    # Without O_NONBLOCK, opening a pipe waits for a writer; it has no effect on regular files.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise UserError("is not a regular file", where=str(path), hint="Remove the pipe or device of this name.")


def read_regular_file(path: Path) -> bytes:
    """Return the content of a file, see `open_regular_file`.

    What the shell passes as a file below /dev/fd is read as it is.

    Raises:
        UserError: it is a pipe, a socket or a device.
        OSError: it cannot be read.
    """
    if path.is_absolute() and path.parts[1:2] == ("dev",) and path.name not in ("zero", "random", "urandom", "full"):
        return path.read_bytes()
    with open_regular_file(path) as stream:
        return stream.read()


def safe_name(number: int, stem: str) -> str:
    """Return a file name that is unique by its number and valid on every file system."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._")[:80]
    return f"{number:05d}_{stem}" if stem else f"{number:05d}"


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, as `sha256:<hex>`."""
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes, as `sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def sha256_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form (sorted keys, no spaces), as `sha256:<hex>`."""
    return sha256_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())
