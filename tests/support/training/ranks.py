"""Run a script on several processes that find each other as those of torchrun do."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import sys
from multiprocessing.connection import wait
from pathlib import Path

# Forked from a process that has imported everything: PyTorch takes five seconds to import, in every process.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["codetr.steps.train", "codetr.steps.evaluate"])


def run_on_ranks(script: str, count: int, path: Path) -> None:
    """Write `script` to `path` and run it on `count` processes; fail with what they print on stderr."""
    path.write_text(script)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    log = path.with_suffix(".log")
    ranks = [_CONTEXT.Process(target=_run, args=(path, rank, count, port, log)) for rank in range(count)]
    for process in ranks:
        process.start()
    try:
        left = {process.sentinel: process for process in ranks}
        while left:
            for sentinel in wait(list(left)):
                process = left.pop(int(sentinel))  # type: ignore[arg-type]
                process.join()
                assert process.exitcode == 0, log.read_text()
    finally:
        for process in ranks:
            process.kill()
            process.join()


def _run(path: Path, rank: int, count: int, port: int, log: Path) -> None:
    """Run the script as one of the processes."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    with log.open("a") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    runpy.run_path(str(path), run_name="__main__")
