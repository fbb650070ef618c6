"""Errors of the operating system as messages: which path, why, what to do, and whether a retry may help.

Code that reads and writes files need not catch `OSError`: the command line and the functions in `codetr.steps.api` do,
and call `reported_os_error`. Code that knows more about the file it reads, e.g. what makes a new one, raises
`unreadable`.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

from codetr.core.errors import ReportedError, RunFailed, UserError, first_line
from codetr.core.system.temporaries import without_temporaries

DESCRIPTORS_HINT = (
    "Raise the limit of open files (`ulimit -n 4096`; for containers `--ulimit nofile=4096`), or use fewer processes "
    "that read images (loader.workers, for evaluate workers)."
)
SHARED_MEMORY_HINT = (
    "Remove what fills /dev/shm, or enlarge it (for containers `--shm-size 1g`, on Kubernetes an emptyDir of "
    "medium Memory), or read images without further processes (loader.workers=0, for evaluate workers=0)."
)

_SPACE = "Free some space, then run the same command again."
_RETRY = "Run the same command again when the system has recovered."
_SERVER = "A server or a network file system does not answer. " + _RETRY
_PERMISSIONS = "Change its permissions, run as another user, or give another path."
_OTHER_NAME = "Give another path."
_FILE_SIZES = "The limit on the size of files is reached (`ulimit -f`). Raise it, then run the same command again."
_MEMORY = "Use fewer processes that read images (loader.workers, for evaluate workers), or smaller batches."
_PROCESSES = "Raise the limit of processes (`ulimit -u`; for containers `--pids-limit`), or use fewer of them."


@dataclass(frozen=True)
class _Meaning:
    """What an error of the system means.

    Attributes:
        kind: `RunFailed` if a retry may help, `UserError` if the same command gives the same error.
        hint: what to do.
        of_system: it says nothing about the file: the process, the machine or a file system lacks something.
        loading: kind and hint where several processes read images, if they differ.
    """

    kind: type[ReportedError]
    hint: str
    of_system: bool = False
    loading: tuple[type[ReportedError], str] | None = None


_SYSTEM_FAILED = _Meaning(RunFailed, _RETRY, of_system=True)
_NO_ANSWER = _Meaning(RunFailed, _SERVER, of_system=True)
_NOT_ALLOWED = _Meaning(UserError, _PERMISSIONS)
_WRONG_PATH = _Meaning(UserError, _OTHER_NAME)

_MEANINGS: dict[int, _Meaning] = {
    errno.ENOSPC: _Meaning(RunFailed, _SPACE, of_system=True, loading=(UserError, SHARED_MEMORY_HINT)),
    errno.EDQUOT: _Meaning(RunFailed, _SPACE, of_system=True),
    errno.EFBIG: _Meaning(RunFailed, _FILE_SIZES),
    errno.EIO: _Meaning(RunFailed, f"The disk or the network file system reports an error. {_RETRY}", of_system=True),
    errno.EAGAIN: _Meaning(RunFailed, _RETRY, of_system=True, loading=(RunFailed, _PROCESSES)),
    errno.EBUSY: _SYSTEM_FAILED,
    errno.EINTR: _SYSTEM_FAILED,
    errno.ENOLCK: _SYSTEM_FAILED,
    errno.ENOMEM: _Meaning(
        RunFailed, "Free some memory, then run the same command again.", of_system=True, loading=(RunFailed, _MEMORY)
    ),
    errno.ENFILE: _Meaning(
        RunFailed,
        "Close other programs, then run the same command again.",
        of_system=True,
        loading=(RunFailed, DESCRIPTORS_HINT),
    ),
    errno.EMFILE: _Meaning(
        UserError,
        "This process may not open more files: raise the limit (`ulimit -n`).",
        of_system=True,
        loading=(UserError, DESCRIPTORS_HINT),
    ),
    errno.ESTALE: _NO_ANSWER,
    errno.ETIMEDOUT: _NO_ANSWER,
    errno.ENOTCONN: _NO_ANSWER,
    errno.EHOSTDOWN: _NO_ANSWER,
    errno.EHOSTUNREACH: _NO_ANSWER,
    errno.ENETDOWN: _NO_ANSWER,
    errno.ENETUNREACH: _NO_ANSWER,
    errno.ECONNABORTED: _NO_ANSWER,
    errno.ECONNREFUSED: _NO_ANSWER,
    errno.ECONNRESET: _NO_ANSWER,
    errno.EPIPE: _Meaning(RunFailed, "The program that reads the output has ended."),
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EROFS: _Meaning(UserError, "Give a path on a file system that can be written."),
    errno.ENAMETOOLONG: _Meaning(
        UserError, "Give a shorter path: most systems allow 255 bytes for a name and 4,096 for a path."
    ),
    errno.EISDIR: _Meaning(UserError, "A file is expected there: give the path of a file."),
    errno.ENOTDIR: _Meaning(UserError, "A folder is expected there: give the path of a folder."),
    errno.ENOENT: _Meaning(UserError, "Check the path."),
    errno.ELOOP: _Meaning(UserError, "Its symbolic links form a circle: remove them, or give another path."),
    errno.EEXIST: _WRONG_PATH,
    errno.ENOTEMPTY: _WRONG_PATH,
    errno.ENODEV: _WRONG_PATH,
    errno.ENXIO: _WRONG_PATH,
    errno.EINVAL: _WRONG_PATH,
    errno.EXDEV: _WRONG_PATH,
    errno.ENOTSUP: _WRONG_PATH,
    errno.EILSEQ: _WRONG_PATH,
}

_NUMBER = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust name an error of the system."""

_PYTORCH_WRITER = ("inline_container.cc", "PytorchStreamWriter")
"""What messages of PyTorch's writer of checkpoints contain."""

_FULL = 1 << 20
"""A file system with fewer free bytes is full: what could not be written had at least a block of them."""


def reported_os_error(error: OSError) -> ReportedError | None:
    """Return an error of the operating system as a `UserError` or a `RunFailed`.

    Args:
        error: as a system call raised it.

    Returns:
        The error to report; None if it is no such error, and so a defect or an error of a library.
    """
    if "No usable temporary directory" in str(error):  # from tempfile
        hint = "Free some space, or set TMPDIR to a folder that can be written."
        return RunFailed("no folder for temporary files can be written", hint=hint)
    meaning = _meaning(error)
    if meaning is None:
        return None
    paths = [path_text(name) for name in (error.filename, error.filename2) if name is not None]
    reason = _reason(error)
    return meaning.kind(
        f"cannot be read or written: {reason}" if paths else reason,
        where=" -> ".join(paths) or None,
        hint=meaning.hint,
    )


def unreadable(error: OSError, where: object, *, hint: str | None = None) -> ReportedError:
    """Return the error to report for a file or folder that cannot be read.

    Args:
        error: of the system, or of a library that reads such files.
        where: the file or folder.
        hint: what to do if it is missing or damaged; what else to do depends on the error.
    """
    if error.errno == errno.ENOENT:
        return UserError("no such file", where=str(where), hint=hint)
    if error.errno == errno.EISDIR:
        return UserError("is a folder, not a file", where=str(where), hint=hint)
    meaning = _meaning(error)
    if meaning is None:
        return UserError(f"cannot be read: {error.strerror or error}", where=str(where), hint=hint)
    return meaning.kind(f"cannot be read: {_reason(error)}", where=str(where), hint=meaning.hint)


def loading_error(error: OSError, doing: str, *, where: str | None = None) -> ReportedError:
    """Return the error to report where images are read, perhaps by several processes.

    Args:
        error: of the operating system.
        doing: what failed, e.g. "reading images".
        where: the file, if it is known and the error does not name it.
    """
    meaning = _meaning(error) or _SYSTEM_FAILED
    kind, hint = meaning.loading or (meaning.kind, meaning.hint)
    if where is None and error.filename is not None:
        where = path_text(error.filename)
    return kind(f"{doing} failed: {_reason(error)}", where=where, hint=hint)


def is_system_failure(error: OSError) -> bool:
    """Return whether a file could not be read for a reason that says nothing about it.

    The process may open no more files, the machine lacks memory, or the disk or the server reports an error. Such a
    file is neither missing nor damaged.
    """
    meaning = _meaning(error)
    return meaning is not None and meaning.of_system


def underlying_error(error: Exception, written: Path | None = None) -> Exception:
    """Return the error of the operating system that made a library fail, as `OSError`; `error` itself if none did.

    safetensors has its number in the message. PyTorch's writer has it as context if it writes to a stream. It has none
    if it has opened the file itself: then the file system or the limit of file sizes is checked, and where neither is
    exhausted, this is a `RunFailed` with PyTorch's message.

    Args:
        error: as the library raised it.
        written: the file or folder that was being written, if any; it still exists.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error
    if found := _NUMBER.search(str(error)):
        return _os_error(int(found[1]))
    if not any(name in str(error) for name in _PYTORCH_WRITER):
        return error
    cause = error.__context__
    while cause is not None:
        if isinstance(cause, OSError):
            return cause
        cause = cause.__context__
    if written is None:
        return error
    return _limit_reached(written) or RunFailed(
        f"cannot be written: {first_line(error)}", where=path_text(written), hint=_RETRY
    )


def path_text(name: object) -> str:
    """Return the file name of an `OSError` as text: a path, bytes, or the number of a descriptor.

    The temporary beside a result is named as the result.
    """
    if isinstance(name, int):
        return f"file descriptor {name}"
    return without_temporaries(os.fsdecode(name) if isinstance(name, bytes) else str(name))


def _meaning(error: OSError) -> _Meaning | None:
    """Return the meaning of an error; None if it is not one of the system."""
    if error.errno in _MEANINGS:
        return _MEANINGS[error.errno]
    # Of the further errors of file systems none says that the file is wrong.
    return _SYSTEM_FAILED if error.errno in errno.errorcode and error.filename is not None else None


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason[:1].lower() + reason[1:]


def _limit_reached(written: Path) -> OSError | None:
    """Return the error for a write to a file, or into a folder, that met a limit; None if none is met."""
    files = [path for path in (written, *written.rglob("*")) if path.is_file()]
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY and any(path.stat().st_size >= limit for path in files):
        return _os_error(errno.EFBIG)
    if shutil.disk_usage(written).free < _FULL:
        return _os_error(errno.ENOSPC)
    return None


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
