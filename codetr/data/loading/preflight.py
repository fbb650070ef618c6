"""Check before a loader starts its processes that descriptors and shared memory suffice for them.

The batches need neither (see `transport`), but the pipes and semaphores of the processes do, and PyTorch leaves half a
loader behind when they run out.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

from codetr.core.errors import UserError
from codetr.core.system.os_errors import DESCRIPTORS_HINT, SHARED_MEMORY_HINT

DESCRIPTORS = 4
"""Descriptors that each loader process takes here: two of its queue, two to notice its end."""

SPARE_DESCRIPTORS = 12
"""Descriptors for everything else: the queue of results, a batch, an image, a checkpoint, sockets of W&B."""

SEMAPHORES, SPARE_SEMAPHORES = 3, 8
"""Semaphores for each loader process, and for all of them together. Each takes a page of /dev/shm."""

SHARED_MEMORY = Path("/dev/shm")


def require_resources(workers: int, *, loaders: int = 1, shared_memory: int | None = None) -> None:
    """Raise `UserError` if this process cannot start loader processes.

    Args:
        workers: processes of each loader; 0 needs nothing.
        loaders: how many loaders there will be at a time.
        shared_memory: free bytes for the semaphores; None to ask the system.
    """
    if workers == 0:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = loaders * workers * DESCRIPTORS + SPARE_DESCRIPTORS
    used = _open_descriptors()
    if limit != resource.RLIM_INFINITY and used + needed > limit:
        raise UserError(
            f"this process may open {limit} files; it has opened {used}, and reading images with {workers} processes "
            f"takes about {needed} more",
            where="ulimit -n",
            hint=DESCRIPTORS_HINT,
        )
    free = _free_shared_memory() if shared_memory is None else shared_memory
    size = loaders * (workers * SEMAPHORES + SPARE_SEMAPHORES) * resource.getpagesize()
    if free is not None and free < size:
        raise UserError(
            f"{free >> 10} KiB of shared memory are free, and reading images with {workers} processes takes "
            f"{size >> 10} KiB",
            where=str(SHARED_MEMORY),
            hint=SHARED_MEMORY_HINT,
        )


def _free_shared_memory() -> int | None:
    """Return the free bytes of /dev/shm; None if it has no limit, or is elsewhere on this system."""
    try:
        file_system = os.statvfs(SHARED_MEMORY)
    except OSError:
        return None
    return file_system.f_bavail * file_system.f_frsize if file_system.f_blocks else None


def _open_descriptors() -> int:
    """Return how many descriptors this process has; 0 where the system does not say."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder))
        except OSError:
            continue
    return 0
