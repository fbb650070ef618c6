"""The folder of checkpoints: atomic, verified, and assigned to one run."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from codetr.core.errors import UserError
from codetr.core.files import sha256_file, sha256_json
from codetr.core.system.temporaries import machine
from codetr.training.checkpoint_folder import HANGS, CheckpointFolder, differences

RUN = {"dataset": "sha256:1", "processes": 1, "recipe": {"training": {"seed": 0, "epochs": 3}}}


def make(folder: Path, *steps: int, keep: int = 5, best: int | None = None) -> CheckpointFolder:
    checkpoints = CheckpointFolder(folder, keep=keep)
    checkpoints.claim(RUN)
    for step in steps:
        checkpoints.save({"value": torch.full((3,), float(step))}, step=step, best_step=best)
    return checkpoints


def test_what_was_saved_is_read_back(tmp_path: Path) -> None:
    checkpoints = make(tmp_path / "c", 4, 8)
    assert checkpoints.newest() == 8
    assert checkpoints.load(8)["value"].tolist() == [8.0, 8.0, 8.0]


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    """A policy without the best one would lose the model that `publish=best` needs."""
    assert make(tmp_path / "c", 1, 2, 3, 4, 5, keep=2, best=2).steps() == [2, 4, 5]


@pytest.mark.parametrize("damage", ["truncated", "bit", "no state", "no info", "foreign info"])
def test_a_damaged_newest_checkpoint_is_skipped_for_the_one_before(tmp_path: Path, damage: str) -> None:
    checkpoints = make(tmp_path / "c", 4, 8)
    folder = tmp_path / "c" / "step-00000008"
    content = bytearray((folder / "state.pt").read_bytes())
    if damage == "truncated":
        (folder / "state.pt").write_bytes(content[: len(content) // 2])
    elif damage == "bit":
        content[len(content) // 2] ^= 1
        (folder / "state.pt").write_bytes(content)
    elif damage == "no state":
        (folder / "state.pt").unlink()
    elif damage == "no info":
        (folder / "info.json").unlink()
    else:
        (folder / "info.json").write_text('["step", 8]')
    with pytest.warns(UserWarning, match="step-00000008.*renamed to damaged-"):
        assert checkpoints.newest() == 4
    # A damaged one that still counted would push sound ones out of the policy.
    checkpoints = CheckpointFolder(tmp_path / "c", keep=1)
    checkpoints.save({"value": torch.zeros(1)}, step=6, best_step=None)
    assert checkpoints.newest() == 6


def test_a_run_whose_checkpoints_are_all_damaged_does_not_start_over_in_silence(tmp_path: Path) -> None:
    checkpoints = make(tmp_path / "c", 4)
    (tmp_path / "c" / "step-00000004" / "state.pt").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="renamed to damaged-"),
        pytest.raises(UserError, match="every checkpoint is damaged"),
    ):
        checkpoints.newest()


def test_a_checkpoint_that_would_execute_something_is_refused(tmp_path: Path) -> None:
    """A checkpoint from elsewhere must not run code, even with a digest that fits."""

    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "harm"),)

    def info() -> dict[str, Any]:
        return {"step": 4, "digest": sha256_file(folder / "state.pt"), "run": sha256_json(RUN)}

    checkpoints = make(tmp_path / "c")
    folder = tmp_path / "c" / "step-00000004"
    folder.mkdir()
    torch.save({"value": Harmful()}, folder / "state.pt")
    (folder / "info.json").write_text(json.dumps(info()))
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        checkpoints.load(4)
    (folder / "state.pt").write_bytes(pickle.dumps(Harmful()))
    (folder / "info.json").write_text(json.dumps(info()))
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        checkpoints.load(4)
    assert not (tmp_path / "harm").exists()


def test_an_unfinished_run_of_another_configuration_is_protected(tmp_path: Path) -> None:
    """Mixing two runs would give a model that neither configuration describes."""
    make(tmp_path / "c", 4)
    other = {**RUN, "processes": 2, "recipe": {"training": {"seed": 1, "epochs": 3}}}
    with pytest.raises(UserError) as caught:
        CheckpointFolder(tmp_path / "c", keep=2).claim(other)
    assert "processes: 1 there, 2 here" in str(caught.value)
    assert "recipe.training.seed: 0 there, 1 here" in str(caught.value)
    assert "epochs" not in str(caught.value)
    assert CheckpointFolder(tmp_path / "c", keep=2).steps() == [4]


def test_a_finished_run_makes_room_for_another_configuration(tmp_path: Path) -> None:
    """Otherwise changing a parameter and running the pipeline again would end in an error."""
    checkpoints = make(tmp_path / "c", 4)
    checkpoints.finish()
    checkpoints.claim(RUN)
    assert checkpoints.steps() == [4], "the same run may be published again"
    checkpoints.claim({**RUN, "dataset": "sha256:2"})
    assert checkpoints.steps() == []


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        CheckpointFolder(tmp_path, keep=2).claim(RUN)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_what_a_killed_run_was_writing_is_removed(tmp_path: Path) -> None:
    checkpoints = make(tmp_path / "c", 4)
    (tmp_path / "c" / f".step-00000008.{machine()}-abcdefgh.tmp").mkdir()
    checkpoints.claim(RUN)
    assert not (tmp_path / "c" / f".step-00000008.{machine()}-abcdefgh.tmp").exists()


def test_a_checkpoint_that_was_being_replaced_comes_back(tmp_path: Path) -> None:
    """The end of an epoch is saved again after validation; a kill between the two renames must not cost the epoch."""
    checkpoints = make(tmp_path / "c", 4)
    retired = tmp_path / "c" / ".step-00000004.00000000-abcdefgh.old"
    retired.mkdir()
    (tmp_path / "c" / "step-00000004").rename(retired / "step-00000004")
    (tmp_path / "c" / ".step-00000004.00000000-bcdefghi.tmp").mkdir()
    checkpoints.claim(RUN)
    assert checkpoints.newest() == 4
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["run.json", "step-00000004"]


def test_a_full_disk_is_an_error_of_the_system_and_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    checkpoints = make(tmp_path / "c", 4)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoints.save({"value": torch.zeros(100_000)}, step=8, best_step=None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints.newest() == 4


def test_differences_name_dotted_paths() -> None:
    old, new = {"a": {"b": 1, "gone": 0}, "same": [1]}, {"a": {"b": 2}, "same": [1], "added": 5}
    assert differences(old, new) == ["a.b: 1 there, 2 here", "a.gone: 0 there, None here", "added: None there, 5 here"]


def test_a_checkpoint_of_another_run_is_not_resumed_from(tmp_path: Path) -> None:
    """Copied between folders, it has the right step and digest, and the weights of another run."""
    checkpoints = make(tmp_path / "c", 4)
    other = CheckpointFolder(tmp_path / "other", keep=5)
    other.claim({**RUN, "dataset": "sha256:2"})
    other.save({"value": torch.zeros(3)}, step=8, best_step=None)
    shutil.copytree(tmp_path / "other" / "step-00000008", tmp_path / "c" / "step-00000008")
    with pytest.warns(UserWarning, match="belongs to another run; renamed to damaged-"):
        assert checkpoints.newest() == 4


def test_traces_of_a_process_that_hung_before_the_start_are_no_other_run(tmp_path: Path) -> None:
    """Their folder is made before the run has claimed its own; the next attempt must start in it."""
    (tmp_path / HANGS).mkdir()
    (tmp_path / HANGS / "rank-0").touch()
    checkpoints = CheckpointFolder(tmp_path, keep=2)
    checkpoints.claim(RUN)
    checkpoints.claim({**RUN, "dataset": "sha256:2"}, discard=True)
    assert (tmp_path / HANGS / "rank-0").exists()
