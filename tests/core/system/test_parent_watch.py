"""The watch of the parent process: who is an ancestor, and how a process ends without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codetr.core.system.parent_watch import PARENT_VARIABLE, is_ancestor, parent_by_ps, parent_of, tied_children
from tests.support.paths import ROOT
from tests.support.process_trees import ProcessTree, wait_for

ENVIRONMENT = {"PYTHONPATH": str(ROOT)}
WATCHED = """
import signal, sys, time
from pathlib import Path
from codetr.core.system.parent_watch import stop, watch, watch_parent
{body}
Path(sys.argv[1]).touch()
while True:
    time.sleep(0.05)
"""
PARENT = """
import subprocess, sys
from codetr.core.system.parent_watch import tied_children
with tied_children():
    subprocess.run(sys.argv[1:])
"""


def tree(tmp_path: Path, body: str, *between: str) -> ProcessTree:
    """A process that starts another, which runs `body`, through the program `between`."""
    child = [sys.executable, "-c", WATCHED.format(body=body), str(tmp_path / "ready")]
    command = [sys.executable, "-c", PARENT, *between, *child]
    return ProcessTree.of_command(command, log=tmp_path / "log.txt", environment=ENVIRONMENT)


def test_ancestors_are_found_through_processes_in_between() -> None:
    """A process that KFP starts through a shell would end at once, or would not end when it has to."""
    assert is_ancestor(os.getppid())
    assert not is_ancestor(0)
    assert is_ancestor(parent_of(os.getppid()) or os.getppid())
    assert not is_ancestor(os.getpid())
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert parent_of(child.pid) == os.getpid()
        assert not is_ancestor(child.pid)
    finally:
        child.kill()
        child.wait()
    assert parent_of(child.pid) == 0


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs the program ps")
def test_ps_and_proc_agree() -> None:
    """Systems without /proc have `ps`."""
    assert parent_by_ps(os.getpid()) == os.getppid()
    child = subprocess.Popen(["true"])
    child.wait()
    assert parent_by_ps(child.pid) == 0


def test_children_are_tied_inside_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT_VARIABLE, "1")
    with tied_children():
        assert os.environ[PARENT_VARIABLE] == str(os.getpid())
    assert os.environ[PARENT_VARIABLE] == "1"
    monkeypatch.delenv(PARENT_VARIABLE)
    with tied_children():
        pass
    assert PARENT_VARIABLE not in os.environ


@pytest.mark.process
@pytest.mark.parametrize("between", [(), ("sh", "-c", '"$@"; true', "sh")], ids=["direct", "shell"])
def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path, between: tuple[str, ...]) -> None:
    orphan = tree(tmp_path, "watch_parent()", *between)
    try:
        wait_for((tmp_path / "ready").exists, orphan)
        orphan.kill_root()
        assert orphan.wait_until_empty() is not None, orphan.commands()
    finally:
        orphan.kill_all()


@pytest.mark.process
def test_a_process_that_ignores_the_request_ends_after_the_grace(tmp_path: Path) -> None:
    """A process that hangs while it saves would hold its memory and the checkpoints for ever."""
    body = """
import os
signal.signal(signal.SIGTERM, signal.SIG_IGN)
watch(os.getppid(), lambda: stop(grace=2))
"""
    orphan = tree(tmp_path, body)
    try:
        wait_for((tmp_path / "ready").exists, orphan)
        orphan.kill_root()
        seconds = orphan.wait_until_empty()
        assert seconds is not None
        assert seconds > 1
    finally:
        orphan.kill_all()


@pytest.mark.process
def test_a_process_that_starts_after_its_parent_has_ended_ends(tmp_path: Path) -> None:
    """Between the fork and the first instruction of a child, its parent may already be gone."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    orphan = ProcessTree.of_command(
        [sys.executable, "-m", "codetr", "sample-data", str(tmp_path / "data"), "--images", "100000"],
        log=tmp_path / "log.txt",
        environment={**ENVIRONMENT, PARENT_VARIABLE: str(ended.pid)},
    )
    try:
        end = time.monotonic() + 60
        while orphan.root.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        orphan.kill_all()


@pytest.mark.process
def test_a_worker_that_starts_after_torchrun_has_ended_ends(tmp_path: Path) -> None:
    """torchrun does not say who it is, and the process that adopts its worker is not it."""
    worker = [sys.executable, "-c", WATCHED.format(body="watch_parent()"), str(tmp_path / "ready")]
    late = ["sh", "-c", '(sleep 1; exec "$@") & touch "$0"; wait', str(tmp_path / "started"), *worker]
    environment = {**ENVIRONMENT, "TORCHELASTIC_RUN_ID": "test"}
    orphan = ProcessTree.of_command(late, log=tmp_path / "log.txt", environment=environment)
    try:
        wait_for((tmp_path / "started").exists, orphan)
        orphan.kill_root()
        assert orphan.wait_until_empty() is not None, orphan.commands()
    finally:
        orphan.kill_all()


@pytest.mark.process
def test_nothing_is_watched_without_a_tie(tmp_path: Path) -> None:
    """A command that was started in a terminal goes on when the terminal is closed."""
    orphan = ProcessTree.of_command(
        [
            "sh",
            "-c",
            '"$@"; true',
            "sh",
            sys.executable,
            "-c",
            WATCHED.format(body="watch_parent()"),
            str(tmp_path / "r"),
        ],
        log=tmp_path / "log.txt",
        environment=ENVIRONMENT,
    )
    try:
        wait_for((tmp_path / "r").exists, orphan)
        orphan.kill_root()
        assert orphan.wait_until_empty(patience=2) is None
    finally:
        orphan.kill_all()
