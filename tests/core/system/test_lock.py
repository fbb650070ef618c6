"""One writer at a time, and no lock file that outlives its use."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from codetr.core.errors import RunFailed
from codetr.core.system.lock import locked


def hold(folder: Path, ready: Event) -> None:
    with locked(folder / "lock", folder=folder, by="another evaluation"):
        ready.set()
        multiprocessing.Event().wait(60)


def test_a_second_writer_waits_then_fails_so_that_a_scheduler_tries_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It says for whom it waits, and how long."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    other = context.Process(target=hold, args=(tmp_path, ready))
    other.start()
    assert ready.wait(30)
    message = rf"in use by another evaluation \(process {other.pid} on .+\), after 0 s too"
    with (
        pytest.raises(RunFailed, match=message),
        locked(tmp_path / "lock", folder=tmp_path, by="another evaluation", timeout=0.1),
    ):
        raise AssertionError("both have it")
    other.kill()
    other.join()
    assert f"another evaluation (process {other.pid} on " in caplog.text
    assert "waiting up to 0 s for it to end" in caplog.text
    with locked(tmp_path / "lock", folder=tmp_path, by="x", timeout=5):
        assert (tmp_path / "lock").exists()
    assert not list(tmp_path.iterdir())
