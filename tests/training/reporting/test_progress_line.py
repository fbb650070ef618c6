"""The progress line on a terminal, in a log, and on other ranks."""

from __future__ import annotations

import os
import pty
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any

import pytest
import torch

from codetr.training.reporting.progress_line import ProgressLine, memory_gib

SIZE: dict[str, Any] = {
    "epochs": 2,
    "steps_per_epoch": 2,
    "images_per_step": 4,
    "done": 0,
    "device": torch.device("cpu"),
}


@contextmanager
def terminal(shown: list[str]) -> Iterator[None]:
    """A pseudo-terminal as stderr inside the block; what it showed is in the list `shown` afterwards."""
    master, slave = pty.openpty()

    def read() -> None:
        with suppress(OSError):  # how a terminal ends
            while part := os.read(master, 4096):
                shown.append(part.decode())

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(slave, "w") as stream, redirect_stderr(stream):
        yield
    reader.join(10)
    os.close(master)


def test_a_terminal_gets_one_line_that_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    shown: list[str] = []
    with terminal(shown), ProgressLine(**SIZE) as progress:
        for step in range(4):
            progress.advance(epoch=step // 2, loss=1.5, lr=1e-4)
        progress.print("val    epoch 2/2  AP 0.5000")
    text = "".join(shown)
    assert "4/4" in text
    assert "loss 1.500  lr 1.0e-04" in text
    assert "val    epoch 2/2  AP 0.5000" in text
    assert "\x1b[" in text, "the line is redrawn in place"


def test_other_ranks_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Eight processes that print the same line would be unreadable."""
    with ProgressLine(**SIZE, quiet=True, every=0.0) as progress:
        progress.advance(epoch=0, loss=1.5, lr=1e-4)
        progress.print("something")
    assert capsys.readouterr().err == ""


def test_throughput_counts_all_processes_and_leaves_out_pauses() -> None:
    """A validation between two steps would look like slow training."""
    now = 0.0
    progress = ProgressLine(**SIZE, quiet=True, clock=lambda: now)
    now += 100  # a validation
    progress.restart_clock()
    now += 0.5  # a step
    progress.advance(epoch=0, loss=1.0, lr=1.0)
    assert progress.images_per_second == pytest.approx(8)


def test_memory_is_that_of_this_process() -> None:
    assert 0.05 < memory_gib(torch.device("cpu")) < 100


def test_a_validation_shows_speed_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    """On a large split it takes longer than an epoch on a small one, and nothing else is printed meanwhile."""
    now = 0.0

    def images() -> Iterator[int]:
        nonlocal now
        for image in range(4):
            now += 6
            yield image

    progress = ProgressLine(**SIZE, clock=lambda: now)
    assert list(progress.track_validation(images(), 4)) == [0, 1, 2, 3]
    assert capsys.readouterr().err.splitlines() == ["val    2/4 images  0.2 img/s  0:00:12 left"]


def test_the_totals_tell_training_from_validation(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0

    def images() -> Iterator[int]:
        nonlocal now
        now += 30
        yield 1

    progress = ProgressLine(**SIZE, quiet=True, clock=lambda: now)
    assert progress.totals() == "", "nothing was trained"
    for _ in range(2):
        now += 20
        progress.advance(epoch=0, loss=1.0, lr=1.0)
    list(progress.track_validation(images(), 1))
    assert progress.totals() == "2 steps in 0:01:10: training 0:00:40 (0.2 img/s), validation 0:00:30"
