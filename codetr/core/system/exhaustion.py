"""Errors of the operating system that mean that a resource has run out, with what to do."""

from __future__ import annotations

import errno

from codetr.core.errors import ReportedError, RunFailed, UserError
from codetr.core.system.os_errors import reported_os_error

DESCRIPTORS_HINT = (
    "Raise the limit of open files (`ulimit -n 4096`; for containers `--ulimit nofile=4096`), or use fewer processes "
    "that read images (loader.workers, for evaluate workers)."
)
SHARED_MEMORY_HINT = (
    "Remove what fills /dev/shm, or enlarge it (for containers `--shm-size 1g`, on Kubernetes an emptyDir of "
    "medium Memory), or read images without further processes (loader.workers=0, for evaluate workers=0)."
)
_MEMORY_HINT = "Use fewer processes that read images (loader.workers, for evaluate workers), or smaller batches."
_PROCESSES_HINT = "Raise the limit of processes (`ulimit -u`; for containers `--pids-limit`), or use fewer of them."

_HINTS = {
    errno.EMFILE: DESCRIPTORS_HINT,
    errno.ENFILE: DESCRIPTORS_HINT,
    errno.ENOSPC: SHARED_MEMORY_HINT,
    errno.ENOMEM: _MEMORY_HINT,
    errno.EAGAIN: _PROCESSES_HINT,
}

_OF_THE_MOMENT = (errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
"""The whole machine lacks these; a retry may succeed."""


def concerns_machine(error: OSError) -> bool:
    """Return whether `error` says nothing about the file that was read: a resource or the file system is missing."""
    return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN)


def out_of_resources(error: OSError, doing: str) -> ReportedError:
    """Return the error to report instead of `error`, where images are read by several processes.

    Args:
        error: of the operating system; one that is not about a resource is reported as `reported_os_error` does.
        doing: what failed, e.g. "reading images".
    """
    hint = _HINTS.get(error.errno or 0)
    kind: type[ReportedError] = RunFailed if error.errno in _OF_THE_MOMENT else UserError
    if hint is None:
        reported = reported_os_error(error)
        kind, hint = (RunFailed, None) if reported is None else (type(reported), reported.hint)
    return kind(f"{doing} failed: {error.strerror or error}", hint=hint)
