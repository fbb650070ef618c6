"""A process that hangs: the others do not wait for it for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.training.ranks import run_on_ranks

STOPPED = """
import os
import signal
import sys
import torch
sys.path[:0] = [{root!r}]
os.environ["CODETR_HANG_TIMEOUT"] = "1"
from codetr.core.errors import RunFailed
from codetr.distributed.processes import processes

try:
    with processes() as group:
        pids = group.gather(os.getpid())
        if group.rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(0)
        group.mean(torch.ones(3))
except RunFailed as error:
    assert "an exchange between processes timed out after 1 s" in str(error), error
else:
    raise AssertionError("rank 0 ended without its peer")
finally:
    os.kill(pids[1], signal.SIGCONT)
"""


@pytest.mark.process
def test_a_process_that_stops_ends_the_run(tmp_path: Path) -> None:
    """A job would hold its machines until its deadline, and its launcher has to learn why it ended."""
    run_on_ranks(STOPPED.format(root=str(ROOT)), 2, tmp_path / "worker.py")
