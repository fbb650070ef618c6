"""Worker processes of the loader: how they start, how they end, and how a failure reaches the parent."""

from __future__ import annotations

import atexit
import multiprocessing
import multiprocessing.util
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial

from codetr.core.errors import ReportedError
from codetr.core.system.parent_watch import watch


@dataclass(frozen=True)
class WorkerFailure:
    """A `ReportedError` as data: an exception that is pickled by a worker loses its fields and gets a traceback."""

    kind: type[ReportedError]
    problem: str
    where: str | None
    hint: str | None

    @classmethod
    def of(cls, error: ReportedError) -> WorkerFailure:
        """Copy the type and the fields of `error`."""
        return cls(type(error), error.problem, error.where, error.hint)

    def error(self) -> ReportedError:
        """Return the error again."""
        return self.kind(self.problem, where=self.where, hint=self.hint)


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def signals_held() -> Iterator[None]:
    """Deliver signals that ask to stop only after the block; processes started in it begin with them blocked."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@cache
def kill_workers_at_exit() -> None:
    """Kill the workers that still run when this process exits; they hold nothing that has to be saved.

    Python asks them to end and waits without a limit. One that is stopped never does.
    """
    # Called before the function of multiprocessing that waits, which was registered earlier.
    atexit.register(_kill_workers)


def _kill_workers() -> None:
    # PyTorch's handler would raise an error because a worker was killed, wherever the main thread is.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def start_worker(_worker: int) -> None:
    """Tie a worker to the process that started it, and protect it from signals that are meant for that process.

    PyTorch's worker checks every five seconds whether its parent runs, but only while it waits for work: one that
    reads an image from a server that does not answer, or ends while its results fill a pipe, would stay.

    torchrun and terminals signal the whole process group, Slurm and systemd every process of a job; a worker that
    ended of it would fail the training process, which is saving its state at that moment. So a worker starts with
    these signals blocked, and ignores them from here on: it ends when its parent has no more work for it, or ends.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None  # This is a worker.
    # It holds nothing that has to be saved.
    watch(parent.pid or 0, partial(os.kill, os.getpid(), signal.SIGKILL))
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
