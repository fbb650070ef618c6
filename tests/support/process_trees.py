"""Commands with every process that descends from them, killed at chosen moments."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

MARK = "CODETR_TEST_MARK"
PATIENCE = 60.0
"""Seconds within which a tree has to end when its root was killed; with idle cores it takes one or two."""


class Root(Protocol):
    """The first process of a tree, e.g. a `subprocess.Popen`."""

    def kill(self) -> None:
        """Send SIGKILL."""

    def wait(self) -> object:
        """Wait for its end."""

    def poll(self) -> int | None:
        """Return None while it runs."""


class ProcessTree:
    """A process and what descends from it, found by a variable in the environment that descendants inherit.

    Parents, groups and sessions do not find all of them: orphans get another parent, torchrun gives its workers
    sessions, and the loader gives its workers groups.
    """

    def __init__(
        self, start: Callable[[dict[str, str], Path], Root], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the root.

        Args:
            start: starts it with given variables in its environment, and with its output appended to a given file.
            log: that file.
            environment: further variables.
        """
        mark = str(uuid.uuid4())
        self.log, self._mark = log, f"{MARK}={mark}".encode()
        self.root = start({**(environment or {}), MARK: mark}, log)

    @classmethod
    def of_command(cls, command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> ProcessTree:
        """Start a command in a session."""

        def start(variables: dict[str, str], log: Path) -> Root:
            with log.open("a") as output:
                return subprocess.Popen(
                    list(command),
                    env={**os.environ, **variables},
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )

        return cls(start, log=log, environment=environment)

    def pids(self) -> list[int]:
        """Return the ids of all processes of the tree that run; zombies do not count."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if self._mark in entry.read_bytes().split(b"\0"):
                    found.append(int(entry.parent.name))
        return found

    def commands(self) -> list[str]:
        """Return the command lines of the processes that run."""
        lines = []
        for pid in self.pids():
            with suppress(OSError):
                lines.append(Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " "))
        return lines

    def kill_root(self) -> None:
        """SIGKILL the root alone."""
        self.root.kill()
        self.root.wait()

    def wait_until_empty(self, patience: float = PATIENCE) -> float | None:
        """Return the seconds until no process was left, or None if some still run after `patience` seconds."""
        start = time.monotonic()
        while self.pids():
            if time.monotonic() - start > patience:
                return None
            time.sleep(0.1)
        return time.monotonic() - start

    def kill_all(self) -> None:
        """SIGKILL every process of the tree."""
        while pids := self.pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.root.poll()
            time.sleep(0.05)
        self.root.wait()


def wait_for(condition: Callable[[], object], tree: ProcessTree, seconds: float = 180) -> None:
    """Wait until `condition` holds; the root of `tree` has to run until then."""
    end = time.monotonic() + seconds
    while not condition():
        assert tree.root.poll() is None, tree.log.read_text()
        assert time.monotonic() < end, tree.log.read_text()
        time.sleep(0.01)


def left_after_kills(
    start: Callable[[Path], ProcessTree],
    ready: Callable[[Path], object],
    folder: Path,
    *,
    moments: int = 8,
    at_once: int = 3,
) -> list[str]:
    """Kill the root of a tree at `moments` moments from its start on, and return what was left behind, if anything.

    The last moment is when `ready` holds; it is first measured how long that takes, and the others are equally spaced.

    Args:
        start: starts the tree with a given folder to work in.
        ready: whether the tree that works in a given folder is past its start-up.
        folder: temporary; each tree gets a folder within.
        moments: how many trees.
        at_once: how many run at the same time.
    """

    def kill_after(index: int, wait: Callable[[Path, ProcessTree], None]) -> str:
        work = folder / f"{index}"
        work.mkdir()
        tree = start(work)
        try:
            wait(work, tree)
            running = len(tree.pids())
            tree.kill_root()
            if tree.wait_until_empty() is None:
                return f"moment {index}: of {running} processes these still run: {tree.commands()}"
        finally:
            tree.kill_all()
        return ""

    begin = time.monotonic()
    left = [kill_after(moments - 1, lambda work, tree: wait_for(lambda: ready(work), tree))]
    duration = time.monotonic() - begin

    def after(index: int) -> str:
        return kill_after(index, lambda _, tree: time.sleep(duration * index / (moments - 1)))

    with ThreadPoolExecutor(at_once) as pool:
        left += pool.map(after, range(moments - 1))
    return [line for line in left if line]
