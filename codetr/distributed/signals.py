"""SIGTERM and Ctrl-C as a request: finish the step, save, exit with a code that asks to be started again.

Python runs a signal handler between two instructions of the main thread. A backward pass of a large detector on a CPU
is one instruction of minutes, so a thread acknowledges the request at once, and ends the process after a second Ctrl-C.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from codetr.core.exit_codes import ExitCode

REPEATED_AFTER = 2.0
"""Seconds after a second Ctrl-C until the process ends, whatever it is doing."""

_CLOSE = 0
"""What ends the thread; no signal has this number."""


class PreemptedError(SystemExit):
    """Ends the process with `ExitCode.PREEMPTED` after its `finally` blocks."""

    def __init__(self) -> None:
        super().__init__(ExitCode.PREEMPTED)


class StoppedWaitingError(Exception):
    """The process was asked to stop inside `StopRequest.interrupts`."""


class StopRequest:
    """Whether this process was asked to stop by SIGTERM or Ctrl-C.

    When the process that started it ends, `codetr.core.system.parent_watch` sends SIGTERM too.

    Attributes:
        saves: whether the state is saved before the process ends, as soon as there is any; for the message.
    """

    def __init__(self) -> None:
        self.saves = False
        self._requested: float | None = None
        self._waiting: tuple[float, float] | None = None

    @property
    def received(self) -> bool:
        """Return whether there was a request."""
        return self._requested is not None

    @contextmanager
    def interrupts(self, *, after: float = 0.0) -> Iterator[None]:
        """Let a request end the block, which may wait for something that never comes.

        Args:
            after: seconds that the block may still take when there is a request.

        Raises:
            StoppedWaitingError: there was a request, before or inside the block, and the block took longer.
        """
        self._waiting = time.monotonic(), after
        try:
            self._raise_if_overdue()
            yield
        finally:
            self._waiting = None

    def overdue_in(self) -> float | None:
        """Return the seconds until a request ends the block of `interrupts`; None without a request or a block."""
        requested, waiting = self._requested, self._waiting
        if requested is None or waiting is None:
            return None
        start, after = waiting
        return max(requested, start) + after - time.monotonic()

    def _raise_if_overdue(self) -> None:
        left = self.overdue_in()
        if left is not None and left <= 0:
            self._waiting = None
            raise StoppedWaitingError

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._requested is None:
            self._requested = time.monotonic()
        # A second Ctrl-C interrupts the step.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._raise_if_overdue()


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
        with _acknowledged(request):
            yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _acknowledged(request: StopRequest) -> Iterator[None]:
    """Watch the signals that arrive inside the block in a thread, which need not wait for the main thread."""
    reader, writer = os.pipe()
    # A signal handler must not wait for space in a pipe.
    os.set_blocking(writer, False)
    thread = threading.Thread(target=_watch, args=(reader, request), name="stop-watch", daemon=True)
    thread.start()
    previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        os.write(writer, bytes([_CLOSE]))
        thread.join()
        os.close(reader)
        os.close(writer)


def _watch(reader: int, request: StopRequest) -> None:
    stops = interrupts = 0
    ends: float | None = None
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while True:
        # A block of `interrupts` may begin at any time after a request.
        for number in os.read(reader, 4096) if poll.poll(500 if stops else None) else b"":
            if number == _CLOSE:
                return
            if number not in (signal.SIGTERM, signal.SIGINT):
                continue
            stops += 1
            interrupts += number == signal.SIGINT
            if stops == 1:
                again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
                saving = ": saving a checkpoint after the current step" if request.saves else ""
                _say(f"stopping{saving}{again}")
            elif interrupts == 2 and ends is None:
                _say("stopping at once; the last checkpoint remains")
                ends = time.monotonic() + REPEATED_AFTER
        if ends is not None and time.monotonic() > ends:
            # The main thread is in native code that cannot be interrupted. What it writes appears complete or not.
            os._exit(ExitCode.INTERRUPTED)
        left = request.overdue_in()
        if left is not None and left <= 0:
            # Run the handler, which ends the wait.
            os.kill(os.getpid(), signal.SIGTERM)


def _say(line: str) -> None:
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):
            print(f"train  {line}", file=sys.stderr, flush=True)
