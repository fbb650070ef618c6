"""SIGTERM and Ctrl-C as a request: finish the step, save, leave with an exit code that says "run me again"."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PREEMPTED = os.EX_TEMPFAIL
"""Exit code (75) of a run that was asked to stop and has saved: start it again and it goes on."""


class PreemptedError(SystemExit):
    """Ends the process with `PREEMPTED`; `finally` blocks run on the way out."""

    def __init__(self) -> None:
        super().__init__(PREEMPTED)


class StopRequest:
    """Whether this process was asked to stop: by SIGTERM or Ctrl-C, or because the torchrun that started it is gone."""

    def __init__(self) -> None:
        self._signalled = False
        self._parent = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None

    @property
    def received(self) -> bool:
        """True from the first request on."""
        return self._signalled or (self._parent is not None and os.getppid() != self._parent)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True
        # Who presses Ctrl-C a second time does not want to wait for the step.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn SIGTERM and the first Ctrl-C into a flag inside the block; the previous handlers come back after it.

    Python takes signals on the main thread only; elsewhere they keep their meaning.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.signal(number, request._receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
