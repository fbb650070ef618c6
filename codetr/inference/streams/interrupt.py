"""Ctrl-C as a request to end a stream after the current frame."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.received = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        # A second one ends the process as usual.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def deferred_interrupt(*, enabled: bool) -> Iterator[Interrupt]:
    """Turn the first Ctrl-C inside the block into a flag: an exception could end the block between two writes.

    Python handles signals in the main thread only; in another thread this changes nothing.

    Args:
        enabled: False leaves Ctrl-C as it is.
    """
    interrupt, previous = Interrupt(), signal.getsignal(signal.SIGINT)
    # A process in the background of a script ignores Ctrl-C, which is not meant for it.
    if not enabled or previous in (None, signal.SIG_IGN) or threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    signal.signal(signal.SIGINT, interrupt._receive)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, previous)
