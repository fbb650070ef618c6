"""Lock a file, so that two runs do not write the same folder at the same time."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from codetr.core.errors import RunFailed

logger = logging.getLogger(__name__)

_HOLDER = re.compile(r"process \d+ on [\w.-]{1,255}")


@contextmanager
def locked(file: Path, *, folder: Path, by: str, timeout: float = 60.0, keep: bool = False) -> Iterator[None]:
    """Hold a lock on `file` inside the block; the lock ends with the process, however it ends.

    On NFS it holds for all machines, unless the file system is mounted with `nolock` or `local_lock`: then, as on other
    file systems without shared locks, it is known to this machine only.

    Processes of a run that was just killed may take some seconds to exit, so locking is tried repeatedly. It is a POSIX
    lock: unlike that of flock it is not inherited by data-loader processes, which outlive a killed run for a moment.

    Args:
        file: created if it does not exist.
        folder: what the lock protects, for the message.
        by: who else may hold it, e.g. "another training run".
        timeout: seconds to keep trying.
        keep: leave the file when the block ends.

    Raises:
        RunFailed: another process holds the lock.
        OSError: the file cannot be created, or its file system has no locks.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    announced = False
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before may have removed the file between the two calls.
            if file.exists() and os.path.samestat(os.fstat(descriptor), os.stat(file)):
                break
        except (BlockingIOError, PermissionError):  # POSIX allows both for a lock that another process holds
            if time.monotonic() > deadline:
                os.close(descriptor)
                hint = "Wait for it to end, stop it, or give this run another folder."
                problem = f"is in use by {by}{_holder(file)}, after {timeout:.0f} s too"
                raise RunFailed(problem, where=str(folder), hint=hint) from None
            if not announced:
                who = f"{by}{_holder(file)}"
                logger.warning("%s is in use by %s: waiting up to %.0f s for it to end", folder, who, timeout)
                announced = True
            time.sleep(0.2)
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
    with suppress(OSError):  # on a full disk
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    try:
        yield
    finally:
        if not keep:
            file.unlink(missing_ok=True)
        os.close(descriptor)


def _holder(file: Path) -> str:
    """Return who holds the lock, as ` (process 17 on node-1)`; empty where the file does not say."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return f" ({text})" if _HOLDER.fullmatch(text) else ""
