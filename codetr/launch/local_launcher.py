"""Run jobs as processes of this machine. They end with this process, so there is nothing to find again."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import IO

from codetr.core.exit_codes import ExitCode
from codetr.core.system.parent_watch import GRACE, tied_children
from codetr.launch.job import Job
from codetr.launch.state import AttemptState, Phase, ProcessEnd

LOG_LINES = 50
"""How many of the last lines the end of an attempt keeps."""


class LocalLauncher:
    """Runs attempts as processes; see `codetr.launch.launcher.Launcher`.

    Args:
        program: what is run with the arguments of a job.
    """

    def __init__(self, program: tuple[str, ...] = (sys.executable, "-u", "-m", "codetr")) -> None:
        self._program = program
        self._attempts: dict[str, _Process] = {}

    def attempts(self, job: Job) -> int:
        """Return how many attempts this launcher has started."""
        return sum(name.rpartition("-")[0] == job.name for name in self._attempts)

    def start(self, job: Job, attempt: int, *, seconds: int) -> None:
        """Start the command of the job, on all its processes; `seconds` are watched by who calls this."""
        name = job.attempt_name(attempt)
        if name not in self._attempts:
            command = [*self._program, *job.arguments, "--nproc", str(job.spec.processes)]
            self._attempts[name] = _Process(command, job.spec.variables)

    def state(self, job: Job, attempt: int) -> AttemptState | None:
        """Return whether the command runs, and how it ended."""
        process = self._attempts.get(job.attempt_name(attempt))
        return None if process is None else process.state(job.attempt_name(attempt))

    def log(self, job: Job, attempt: int) -> Iterator[str]:
        """Yield the lines that the command has printed since the last call."""
        yield from self._attempts[job.attempt_name(attempt)].new_lines()

    def heartbeat(self, job: Job, attempt: int) -> None:
        """Do nothing: the processes notice by themselves when this one ends."""

    def cancel(self, job: Job) -> None:
        """Ask the command to stop, which saves a checkpoint, and wait for it."""
        for name, process in self._attempts.items():
            if name.rpartition("-")[0] == job.name:
                process.stop()


class _Process:
    """A command, and a thread that reads what it prints."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._started = time.monotonic()
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._last: deque[str] = deque(maxlen=LOG_LINES)
        with tied_children():
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                # Ctrl-C in the terminal reaches the launcher alone, which stops the command.
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def state(self, name: str) -> AttemptState:
        code = self._process.poll()
        if code is None:
            return AttemptState(Phase.RUNNING, age=time.monotonic() - self._started)
        # What the process printed last is the reason of its end. A child of it may still hold the pipe.
        self._reader.join(timeout=5)
        if code == ExitCode.OK:
            return AttemptState(Phase.SUCCEEDED)
        code = code if code > 0 else 128 - code
        end = ProcessEnd(name, code, log=tuple(self._last))
        return AttemptState(Phase.FAILED, age=time.monotonic() - self._started, ends=(end,))

    def new_lines(self) -> Iterator[str]:
        while True:
            try:
                yield self._lines.get_nowait()
            except queue.Empty:
                return

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._last.append(line.rstrip("\n"))
                self._lines.put(line.rstrip("\n"))
