"""Standard streams that are closed or cannot be written: a full disk below a log, a pipe that nothing reads."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any


class _Lossy(io.RawIOBase):
    """Writes to a file descriptor, and drops what cannot be written."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: Any) -> int:
        with suppress(OSError):
            return os.write(self._descriptor, content)
        return memoryview(content).nbytes


def open_closed_streams() -> None:
    """Open standard streams that were closed when this process started, as the null device.

    Otherwise the next file that is opened has the number of standard error, and what libraries write to that number
    goes into the file: a checkpoint, for example. Python has None for such a stream, and would print errors to another.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It takes the lowest number that is free.
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def keep_running_without_log() -> None:
    """Make standard error a stream that drops what it cannot write: a run of days must not end for a line of its log.

    Nothing changes where standard error is not that of the process, as in tests.
    """
    stream = sys.__stderr__
    if stream is None or sys.stderr is not stream:
        return
    raw = io.BufferedWriter(_Lossy(stream.fileno()))
    sys.stderr = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def discard_stdout() -> None:
    """Drop what standard output could not write, and what is written to it from now on."""
    # The stream keeps what it could not write, and would fail again when it is closed.
    with open(os.devnull, "wb") as nowhere, suppress(OSError, ValueError):
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
