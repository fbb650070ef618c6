"""Processes that begin with everything imported: forked from one that did it once.

PyTorch takes two to five seconds of a core to import, in every process that is started as a program.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
# The last two are imported by a training, but not by its module.
_CONTEXT.set_forkserver_preload(["codetr.steps.train", "codetr.steps.evaluate", "torchvision.ops", "scipy.optimize"])


class ForkedProcess:
    """A function in a forked process, used as a `subprocess.Popen`; the process is in a session of its own."""

    def __init__(
        self, work: Callable[..., object], *arguments: object, log: Path, environment: Mapping[str, str]
    ) -> None:
        """Start it.

        Args:
            work: a function of a module, for it is pickled; a SystemExit it raises is the exit code.
            arguments: of the function.
            log: file that its output is appended to.
            environment: further variables.
        """
        self._process = _CONTEXT.Process(target=_run, args=(work, arguments, log, dict(environment)))
        self._process.start()
        assert self._process.pid is not None
        self.pid, self.sentinel = self._process.pid, self._process.sentinel

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return the exit code."""
        self._process.join(timeout)
        if (code := self._process.exitcode) is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout or 0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _run(work: Callable[..., object], arguments: Sequence[object], log: Path, environment: Mapping[str, str]) -> None:
    os.setsid()
    os.environ.update(environment)
    with log.open("a") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    work(*arguments)


def forked_codetr(arguments: Sequence[str], *, log: Path, **environment: str) -> ForkedProcess:
    """Start `codetr …`."""
    return ForkedProcess(_codetr, list(arguments), log=log, environment=environment)


def _codetr(arguments: Sequence[str]) -> None:
    from codetr.__main__ import main

    sys.argv = ["codetr", *arguments]
    main()


def rank_environments(count: int) -> list[dict[str, str]]:
    """Return the variables by which `count` processes find each other as those of torchrun do."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{"RANK": str(rank), "LOCAL_RANK": str(rank), **shared} for rank in range(count)]
