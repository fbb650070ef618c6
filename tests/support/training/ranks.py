"""Run a script on several processes that find each other as those of torchrun do."""

from __future__ import annotations

import runpy
from multiprocessing.connection import wait
from pathlib import Path

from tests.support.forked import ForkedProcess, rank_environments


def run_on_ranks(script: str, count: int, path: Path) -> None:
    """Write `script` to `path` and run it on `count` processes; fail with what they print, as soon as one fails."""
    path.write_text(script)
    log = path.with_suffix(".log")
    ranks = [ForkedProcess(_run, path, log=log, environment=environment) for environment in rank_environments(count)]
    try:
        left = {process.sentinel: process for process in ranks}
        while left:
            for sentinel in wait(list(left)):
                assert left.pop(int(sentinel)).wait() == 0, log.read_text()  # type: ignore[arg-type]
    finally:
        for process in ranks:
            process.kill()
            process.wait()


def _run(path: Path) -> None:
    runpy.run_path(str(path), run_name="__main__")
