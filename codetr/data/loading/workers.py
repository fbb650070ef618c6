"""Worker processes of the loader: how they start, and how a failure reaches the parent."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from codetr.core.errors import UserError


@dataclass(frozen=True)
class WorkerFailure:
    """A `UserError` as data: pickling the exception out of a worker would lose its parts and add a traceback."""

    problem: str
    where: str | None
    hint: str | None

    @classmethod
    def of(cls, error: UserError) -> WorkerFailure:
        """Take the parts of `error`."""
        return cls(error.problem, error.where, error.hint)

    def error(self) -> UserError:
        """Return the error that was taken."""
        return UserError(self.problem, where=self.where, hint=self.hint)


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def signals_held() -> Iterator[None]:
    """Deliver signals that ask to stop only after the block; processes started in it begin with them blocked."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def start_worker(_worker: int) -> None:
    """Keep signals meant for the training process away from its workers.

    torchrun and terminals signal the whole process group; a worker that died of it would fail the training process,
    which is saving its state just then. So a worker starts with these signals blocked, leaves the group, forgets
    what came until then, and from there on a signal is meant for the worker itself and ends it.
    """
    os.setpgid(0, 0)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
