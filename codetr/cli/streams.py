"""Standard streams that cannot be written: a full disk below a log, a pipe that nothing reads."""

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
