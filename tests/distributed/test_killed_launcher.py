"""A launcher that is killed takes its processes and their loader processes with it, whenever that happens."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.process_trees import ProcessTree, left_after_kills, wait_for
from tests.support.training.runs import drawn_dataset, rows, train_arguments

pytestmark = pytest.mark.process

CODETR = [sys.executable, "-m", "codetr"]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_dataset(tmp_path_factory.mktemp("data"))


def test_nproc(dataset: Path, tmp_path: Path) -> None:
    """Workers would wait an hour for the launcher's store, and hold their memory meanwhile."""

    def start(folder: Path) -> ProcessTree:
        command = [*CODETR, *train_arguments(folder, dataset, processes=2)]
        return ProcessTree.of_command(command, log=folder / "log.txt", environment=ENVIRONMENT)

    assert left_after_kills(start, rows, tmp_path) == []


def test_torchrun(tmp_path: Path) -> None:
    """torchrun itself does not say which process started a worker; the worker has to find out."""

    def start(folder: Path) -> ProcessTree:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command += ["-m", "codetr", "sample-data", str(folder / "data"), "--images", "100000"]
        return ProcessTree.of_command(command, log=folder / "log.txt", environment=ENVIRONMENT)

    def ready(folder: Path) -> bool:
        return len(list(folder.glob(".data.*"))) == 2

    assert left_after_kills(start, ready, tmp_path) == []


def test_many_workers(dataset: Path, tmp_path: Path) -> None:
    """The more there are, the longer they start, and the more memory is held by those that stay."""
    count = 8
    command = [*CODETR, *train_arguments(tmp_path, dataset, processes=count)]
    tree = ProcessTree.of_command(command, log=tmp_path / "log.txt", environment=ENVIRONMENT)
    try:
        wait_for(lambda: len(tree.pids()) > count, tree)
        tree.kill_root()
        assert tree.wait_until_empty() is not None, tree.commands()
    finally:
        tree.kill_all()
