"""A local run of the pipeline that is killed takes the processes of its tasks with it, whenever that happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.process_trees import ProcessTree, left_after_kills, wait_for
from tests.support.run_local import ENVIRONMENT, command, drawn_params, is_prepared, steps_done, steps_saved

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_params(tmp_path_factory.mktemp("data"), 40)


def start(folder: Path, params: Path) -> ProcessTree:
    return ProcessTree.of_command(command(folder, params), log=folder / "log.txt", cwd=folder, **ENVIRONMENT)


def test_tasks_end(params: Path, tmp_path: Path) -> None:
    """The next run would work beside a task of the last, in the same folders."""
    assert left_after_kills(lambda folder: start(folder, params), is_prepared, tmp_path) == []


def test_training_saves_a_checkpoint(params: Path, tmp_path: Path) -> None:
    """Its output goes to the process that was killed: neither that nor the kill may cost the steps since the last."""
    tree = start(tmp_path, params)
    try:
        wait_for(lambda: steps_done(tmp_path) >= 2, tree)
        assert steps_saved(tmp_path) == 0
        tree.kill_root()
        assert tree.wait_until_empty() is not None, tree.commands()
        assert steps_saved(tmp_path) == steps_done(tmp_path) >= 2
    finally:
        tree.kill_all()
