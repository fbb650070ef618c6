"""Task processes of Airflow: forked from one process that has imported Airflow and the DAG, as its workers do.

Run as a script in Airflow's environment: `python airflow_tasks.py DAG_FILE` reads a JSON object per line, forks a
process that executes the DAG's operator, and prints the id of that process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class Task:
    """A process that was forked by `TaskServer`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def kill(self) -> None:
        """Send SIGKILL."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Return at once: the server does not collect the status of its children."""

    def poll(self) -> int | None:
        """Return None while it runs."""
        return None if Path(f"/proc/{self.pid}").exists() else 0


class TaskServer:
    """A process of Airflow's environment that starts tasks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self._lock = process, threading.Lock()

    def start(self, params: dict[str, Any], variables: dict[str, str], log: Path) -> Task:
        """Start a task.

        Args:
            params: of the DAG.
            variables: of the environment.
            log: a file that its output is appended to.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            print(json.dumps([params, variables, str(log)]), file=self._process.stdin, flush=True)
            return Task(int(self._process.stdout.readline()))


@contextmanager
def task_server(python: Path, dag: Path, **environment: str) -> Iterator[TaskServer]:
    """Start a server with the interpreter `python` and end it after the block."""
    # -P: the folder of this file is not searched for modules.
    command = [str(python), "-P", __file__, str(dag)]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield TaskServer(process)
    finally:
        process.kill()
        process.communicate()


def serve(dag: str) -> None:
    """Fork a task for every line of standard input."""
    spec = importlib.util.spec_from_file_location("dag", dag)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # The kernel collects those that end.
    for line in sys.stdin:
        params, variables, log = json.loads(line)
        if pid := os.fork():
            print(pid, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.update(variables)
        module.PipelineOperator(task_id="run_pipeline").execute({"run_id": "test", "params": params})
        os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
