"""Loader processes end with the process that started them, whatever they are doing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.process_trees import ProcessTree, wait_for

BLOCKED = """
import os, sys
from pathlib import Path
from torch.utils.data import DataLoader, Dataset
from codetr.data.loading.workers import signals_held, start_worker

class Blocked(Dataset):
    def __len__(self):
        return 2
    def __getitem__(self, index):
        Path(sys.argv[1], str(index)).touch()
        os.read(os.pipe()[0], 1)

loader = DataLoader(Blocked(), batch_size=None, num_workers=2, worker_init_fn=start_worker)
with signals_held():
    batches = iter(loader)
next(batches)
"""


@pytest.mark.process
def test_a_worker_that_waits_for_an_image_ends(tmp_path: Path) -> None:
    """PyTorch's worker looks for its parent only between two images; a server may never answer."""
    command = [sys.executable, "-c", BLOCKED, str(tmp_path)]
    tree = ProcessTree.of_command(
        command, log=tmp_path / "log.txt", environment={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    )
    try:
        wait_for(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists(), tree)
        assert len(tree.pids()) == 3
        tree.kill_root()
        assert tree.wait_until_empty() is not None, tree.commands()
    finally:
        tree.kill_all()


STOPPED = """
import os, signal, sys
import multiprocessing
from torch.utils.data import DataLoader
from codetr.data.loading.workers import kill_workers_at_exit, signals_held, start_worker

kill_workers_at_exit()
loader = DataLoader(range(9), batch_size=None, num_workers=1, worker_init_fn=start_worker, persistent_workers=True)
with signals_held():
    batches = iter(loader)
next(batches)
(worker,) = multiprocessing.active_children()
os.kill(worker.pid, signal.SIGSTOP)
"""


@pytest.mark.process
def test_a_worker_that_is_stopped_does_not_keep_the_process_that_exits(tmp_path: Path) -> None:
    """After it has saved its state, a run would not end until somebody kills it."""
    command = [sys.executable, "-c", STOPPED]
    tree = ProcessTree.of_command(
        command, log=tmp_path / "log.txt", environment={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    )
    try:
        assert tree.wait_until_empty() is not None, tree.commands()
    finally:
        tree.kill_all()
