"""End this process when the process that started it ends, however that one ended.

A process that is killed by SIGKILL cannot stop those it started; they have to notice themselves. `watch_parent` is the
first thing that `python -m codetr` does, before PyTorch is imported: a thread checks four times a second whether the
process that started this one is still among its ancestors. When it is not, the thread sends this process SIGTERM. That
ends it at once, also inside native code such as a retry loop of PyTorch's TCPStore, or, during training, makes it save
a checkpoint after the current step (`codetr.distributed.signals`). Whatever is still running `GRACE` seconds later is
ended by the kernel with SIGALRM, which needs no Python code to run.

Why the ancestors, and not

- `prctl(PR_SET_PDEATHSIG)`: it exists on Linux only, misses a parent that ended before the call, and fires when the
  *thread* that forked ends;
- a pipe that is closed when the parent ends: PyTorch's launcher, KFP and Airflow close all descriptors of the processes
  they start;
- whether a process of that id exists: ids are reused, and a killed process keeps its id until it is collected.

The kernel gives the children of a process that ends to another ancestor, at once and for good. So the id of a process
that has ended never is the id of an ancestor again: no state of the check can be mistaken for another one, however late
it begins. Processes in between, such as the shell that KFP starts Python with, do not have to cooperate.

The id is passed in the environment variable `CODETR_PARENT`. torchrun does not set it, and its worker cannot take the
parent that it finds: torchrun may have ended while Python started, and another process have adopted the worker. But
torchrun runs in Python, and processes that adopt others (init, a service manager, the entry point of a container)
rarely do. So a worker of torchrun takes the nearest ancestor that runs Python, and stops if there is none. Where it is
mistaken, it ends when it cannot reach torchrun's store (`codetr.distributed.processes`).
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARENT_VARIABLE = "CODETR_PARENT"
"""Environment variable: the id of the process whose end ends the process that is started with it."""

GRACE = 120
"""Seconds that a process has to save its state and end after it was asked to."""

INTERVAL = 0.25
"""Seconds between two checks."""

logger = logging.getLogger(__name__)


@contextmanager
def tied_children() -> Iterator[None]:
    """Tie the processes that are started inside the block to this process, if they call `watch_parent`."""
    previous = os.environ.get(PARENT_VARIABLE)
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[PARENT_VARIABLE]
        if previous is not None:
            os.environ[PARENT_VARIABLE] = previous


def watch_parent() -> None:
    """Watch the process that started this one through `tied_children`, or the torchrun that did; else do nothing.

    Processes that this one starts do not inherit the tie.
    """
    ancestor = os.environ.pop(PARENT_VARIABLE, None)
    if ancestor is not None:
        watch(int(ancestor), stop)
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        watch(torchrun_id(), stop)


def watch(ancestor: int, then: Callable[[], object]) -> None:
    """Call `then` in a thread when the process `ancestor` has ended.

    Args:
        ancestor: the id of the process that started this one, directly or through others.
        then: what ends this process.
    """

    def wait() -> None:
        while _is_ancestor_or_unknown(ancestor):
            time.sleep(INTERVAL)
        then()

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


def stop(grace: int = GRACE) -> None:
    """Send this process SIGTERM, and let the kernel end it if it still runs after `grace` seconds (at least 1)."""
    signal.alarm(grace)
    if os.environ.get("RANK", "0") == "0":
        logger.warning("the process that started this one has ended: stopping")
    os.kill(os.getpid(), signal.SIGTERM)


def is_ancestor(pid: int) -> bool:
    """Return whether the process `pid` runs and has started this process, directly or through others."""
    ancestor = os.getppid()
    while ancestor not in (0, pid):
        ancestor = parent_of(ancestor)
    return ancestor == pid != 0


def torchrun_id() -> int:
    """Return the id of the torchrun that started this process, 0 if it has ended.

    This is the nearest ancestor that runs Python; without /proc it is the parent, whatever that runs.
    """
    ancestor = os.getppid()
    while Path("/proc/self").exists() and ancestor and not _runs_python(ancestor):
        ancestor = parent_of(ancestor)
    return ancestor


def parent_of(pid: int) -> int:
    """Return the id of the process that started the process `pid`, 0 if there is none or `pid` does not run.

    Raises:
        OSError: this cannot be found out, e.g. because /proc is not mounted.
    """
    if sys.platform != "linux":
        return parent_by_ps(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        if not Path("/proc/self").exists():
            raise
        return 0
    # The name of the program comes before it, in parentheses, and may hold any character.
    return int(stat.rpartition(")")[2].split()[1])


def parent_by_ps(pid: int) -> int:
    """`parent_of` where there is no /proc, as on macOS."""
    done = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], stdout=subprocess.PIPE, text=True, check=False)
    return int(done.stdout.strip() or 0)


def _runs_python(pid: int) -> bool:
    """Return whether the command line or the loaded libraries of a process name Python or PyTorch."""
    text = ""
    for name in ("cmdline", "maps"):
        with suppress(OSError):  # It has ended, or does not show its memory.
            text += Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    return "python" in text or "torch" in text


def _is_ancestor_or_unknown(pid: int) -> bool:
    try:
        return is_ancestor(pid)
    except OSError:  # E.g. no file can be opened at the moment: the next check decides. Or there is no /proc.
        return True
