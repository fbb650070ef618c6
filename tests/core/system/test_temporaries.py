"""Temporaries: those of killed writers are removed, those of living ones never, and a result is there at any time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from codetr.core.files import atomic_directory, atomic_file, write_text
from codetr.core.system import temporaries
from codetr.core.system.temporaries import (
    exchange,
    machine,
    remove_all_leftovers,
    remove_leftovers,
    scratch_directory,
    temporary_directory,
    temporary_file,
)

WRITER = """
import sys, time
from pathlib import Path
from codetr.core.files import atomic_directory, atomic_file
writer = atomic_directory if sys.argv[1] == "directory" else atomic_file
with writer(Path(sys.argv[2])) as temporary:
    (temporary / "weights" if temporary.is_dir() else temporary).write_text("new")
    print(temporary, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_a_killed_writers_temporary_is_removed_by_the_next_and_a_living_ones_is_not(tmp_path: Path, kind: str) -> None:
    """Each kill would leave a file of the size of the weights; and a sweep must not take what is being written."""
    path = tmp_path / "model"
    writer = atomic_directory if kind == "directory" else atomic_file
    command = [sys.executable, "-c", WRITER, kind, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        temporary = Path(process.stdout.readline().strip())
        with writer(path) as mine:
            (mine / "a" if mine.is_dir() else mine).write_text("mine")
        assert temporary.exists()
        process.send_signal(signal.SIGKILL)
    assert temporary.exists(), "a killed process cannot remove it"
    temporaries._listed_once.cache_clear()  # as in a new process
    with writer(path) as mine:
        (mine / "a" if mine.is_dir() else mine).write_text("mine")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_scratch_folders_of_killed_processes_are_removed_and_those_in_use_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each examination of annotations that was ended by SIGTERM left an index in /tmp."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / f".codetr-dataset.{machine()}-abcdefgh.tmp"
    left.mkdir()
    (left / "index.npy").touch()
    (tmp_path / "mine").touch()
    with scratch_directory("codetr-dataset") as one:
        assert not left.exists()
        with scratch_directory("codetr-dataset") as other:
            (other / "a").touch()
            assert not list(one.iterdir())
            assert one.is_dir()
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


def test_temporaries_of_other_results_stay(tmp_path: Path) -> None:
    other = tmp_path / f".other.{machine()}-abcdefgh.tmp"
    other.mkdir()
    with atomic_directory(tmp_path / "model"):
        pass
    write_text(tmp_path / "model.json", "{}")
    assert other.exists()


def test_a_result_is_there_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two renames, a kill between them loses the earlier result."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    if not exchange(path, path):
        pytest.skip("this file system cannot exchange folders")
    monkeypatch.setattr(Path, "rename", lambda *_: pytest.fail("a moment without a result"))
    with atomic_directory(path) as folder:
        (folder / "new").touch()
    assert os.listdir(path) == ["new"]


def test_exchange_swaps_files_and_folders_and_reports_errors(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").touch()
    (tmp_path / "b").write_text("b")
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot exchange")
    assert (tmp_path / "a").read_text() == "b"
    assert (tmp_path / "b" / "x").exists()
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "missing")


def test_a_kill_between_two_renames_is_undone_by_the_next_writer(tmp_path: Path) -> None:
    """Where folders cannot be exchanged there is a moment without a result."""
    retired = tmp_path / f".model.{machine()}-abcdefgh.old"
    (retired / "model").mkdir(parents=True)
    (retired / "model" / "old").touch()
    new = tmp_path / f".model.{machine()}-bcdefghi.tmp"
    new.mkdir()
    remove_leftovers(tmp_path / "model")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "old").exists()


@pytest.mark.parametrize("length", [200, 230, 255])
def test_a_name_of_any_length_that_a_file_can_have_can_be_written(tmp_path: Path, length: int) -> None:
    """The name of the temporary is longer than that of the result."""
    write_text(tmp_path / ("é" * (length // 2)), "x")
    with atomic_directory(tmp_path / ("x" * length)):
        pass


def test_a_link_at_the_path_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "x").touch()
    (tmp_path / "link").symlink_to("target")
    with atomic_directory(tmp_path / "link") as folder:
        (folder / "new").touch()
    assert (tmp_path / "target" / "x").exists()
    assert sorted(os.listdir(tmp_path)) == ["link", "target"]
    assert os.listdir(tmp_path / "link") == ["new"]


def test_a_temporary_that_was_renamed_is_kept(tmp_path: Path) -> None:
    with temporary_directory(tmp_path / "x") as temporary:
        temporary.rename(tmp_path / "x")
    assert (tmp_path / "x").is_dir()


def leftover(folder: Path, name: str, hours: float) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    os.utime(path, (time.time() - hours * 3600,) * 2)
    return path


def test_what_another_machine_may_be_writing_is_kept(tmp_path: Path) -> None:
    """On NFS a lock of a folder is known to its machine only; the sweep took what another one was writing."""
    writing = leftover(tmp_path, ".model.00000000-abcdefgh.tmp", hours=1)
    abandoned = leftover(tmp_path, ".model.00000000-bcdefghi.tmp", hours=30)
    remove_leftovers(tmp_path / "model")
    assert writing.exists()
    assert not abandoned.exists()
    remove_all_leftovers(tmp_path, sole_writer=True)
    assert not list(tmp_path.iterdir())


def test_an_earlier_result_comes_back_also_from_another_machine(tmp_path: Path) -> None:
    """A container that was killed comes back under another name."""
    retired = leftover(tmp_path, ".model.00000000-abcdefgh.old/model", hours=1).parent
    os.utime(retired, (time.time() - 3600,) * 2)
    remove_leftovers(tmp_path / "model")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_a_file_is_locked_as_nfs_requires_it(tmp_path: Path) -> None:
    """NFS refuses an exclusive lock of a file that is open for reading only."""
    with temporary_file(tmp_path / "a") as temporary:
        flags = [
            int(line.split()[1], 8)
            for entry in Path("/proc/self/fd").iterdir()
            if entry.is_symlink() and os.readlink(entry) == str(temporary)
            for line in Path(f"/proc/self/fdinfo/{entry.name}").read_text().splitlines()
            if line.startswith("flags")
        ]
        assert [value & os.O_ACCMODE for value in flags] == [os.O_RDWR]
