"""SIGTERM and Ctrl-C as a request: finish the step, save, exit with a code that asks to be started again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from codetr.core.exit_codes import ExitCode


class PreemptedError(SystemExit):
    """Ends the process with `ExitCode.PREEMPTED` after its `finally` blocks."""

    def __init__(self) -> None:
        super().__init__(ExitCode.PREEMPTED)


class StopRequest:
    """Whether this process was asked to stop by SIGTERM or Ctrl-C.

    When the process that started it ends, `codetr.core.parent_watch` sends SIGTERM too.
    """

    def __init__(self) -> None:
        self._received = False

    @property
    def received(self) -> bool:
        """Return whether there was a request."""
        return self._received

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = True
        # A second Ctrl-C interrupts the step.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn SIGTERM and the first Ctrl-C into a flag inside the block, and restore the previous handlers after it.

    Python handles signals in the main thread only; in another thread this changes nothing.
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
