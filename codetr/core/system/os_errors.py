"""Errors of the operating system as messages: which path, why, what to do, and whether a retry may help.

Code that reads and writes files need not catch `OSError`: the command line does, and calls `reported_os_error`. Code
that knows more about the file, e.g. which setting names it, raises a `UserError` of its own.
"""

from __future__ import annotations

import errno
import os
import re

from codetr.core.errors import ReportedError, RunFailed, UserError

_TEMPORARY = re.compile(r"(^|/)\.([^/]+)\.[a-z0-9_]{8}\.(?:tmp|old)(?=/|$)")

_NUMBER = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust name an error of the system."""

_SPACE = "Free some space, then run the same command again."
_RETRY = "Run the same command again when the system has recovered."
_OTHER_NAME = "Give another path."

_FAILURES: dict[int, str] = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "The limit on the size of files is reached (`ulimit -f`). Raise it, then run the same command again.",
    errno.EIO: "The disk or the network file system reports an error. " + _RETRY,
    errno.ESTALE: _RETRY,
    errno.ETIMEDOUT: _RETRY,
    errno.EAGAIN: _RETRY,
    errno.EBUSY: _RETRY,
    errno.ENOMEM: "Free some memory, then run the same command again.",
    errno.ENFILE: "Close other programs, then run the same command again.",
    errno.ENOLCK: _RETRY,
    errno.EINTR: _RETRY,
    errno.EPIPE: "The program that reads the output has ended.",
}
"""Errors that a retry may avoid, with what to do."""

_MISTAKES: dict[int, str] = {
    errno.EMFILE: "This process may not open more files: raise the limit (`ulimit -n`).",
    errno.EACCES: "Change its permissions, run as another user, or give another path.",
    errno.EPERM: "Change its permissions, run as another user, or give another path.",
    errno.EROFS: "Give a path on a file system that can be written.",
    errno.ENAMETOOLONG: "Give a shorter path: most systems allow 255 bytes for a name and 4,096 for a path.",
    errno.EISDIR: "A file is expected there: give the path of a file.",
    errno.ENOTDIR: "A folder is expected there: give the path of a folder.",
    errno.ENOENT: "Check the path.",
    errno.EEXIST: _OTHER_NAME,
    errno.ENOTEMPTY: _OTHER_NAME,
    errno.ELOOP: "Its symbolic links form a circle: remove them, or give another path.",
    errno.ENODEV: _OTHER_NAME,
    errno.ENXIO: _OTHER_NAME,
    errno.EINVAL: _OTHER_NAME,
    errno.EXDEV: _OTHER_NAME,
    errno.ENOTSUP: _OTHER_NAME,
    errno.EILSEQ: _OTHER_NAME,
}
"""Errors that the same command gives again, with what to do."""


def reported_os_error(error: OSError) -> ReportedError | None:
    """Return an error of the operating system as a `UserError` or a `RunFailed`.

    Args:
        error: as a system call raised it.

    Returns:
        The error to report; None if it is not one of these errors, and so a defect or an error of a library.
    """
    if error.errno is None or not (error.errno in _FAILURES or error.errno in _MISTAKES):
        return None
    paths = [path_text(name) for name in (error.filename, error.filename2) if name is not None]
    reason = os.strerror(error.errno)
    reason = reason[0].lower() + reason[1:]
    kind, hints = (RunFailed, _FAILURES) if error.errno in _FAILURES else (UserError, _MISTAKES)
    return kind(
        f"cannot be read or written: {reason}" if paths else reason,
        where=" -> ".join(paths) or None,
        hint=hints[error.errno],
    )


def underlying_os_error(error: Exception) -> OSError | None:
    """Return the error of the operating system that made a library fail while it wrote; None if there is none.

    PyTorch's writer raises RuntimeError, with the error of a stream as its context, and safetensors an error of its
    own with the number in its message.
    """
    if isinstance(error, OSError):
        return error
    message = str(error)
    if found := _NUMBER.search(message):
        return OSError(int(found[1]), os.strerror(int(found[1])))
    if "inline_container.cc" in message or "PytorchStreamWriter" in message:
        cause = error.__context__
        while cause is not None:
            if isinstance(cause, OSError):
                return cause
            cause = cause.__context__
        # Of a file that it opened itself PyTorch does not say why a write failed; it is nearly always a full disk.
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return None


def path_text(name: object) -> str:
    """Return the file name of an `OSError` as text: a path, bytes, or the number of a descriptor.

    The temporary beside a result is named as the result.
    """
    if isinstance(name, int):
        return f"file descriptor {name}"
    return _TEMPORARY.sub(r"\1\2", os.fsdecode(name) if isinstance(name, bytes) else str(name))
