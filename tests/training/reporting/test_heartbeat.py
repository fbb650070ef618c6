"""Lines while a step takes long."""

from __future__ import annotations

import threading
import time

import pytest

from codetr.training.reporting.heartbeat import Heartbeat


def wait_for(lines: list[str], count: int) -> None:
    end = time.monotonic() + 10
    while len(lines) < count and time.monotonic() < end:
        time.sleep(0.01)


def test_a_long_activity_is_named_again_and_again() -> None:
    """Otherwise a step of minutes cannot be told from a program that hangs."""
    lines: list[str] = []
    now = [0.0]
    with Heartbeat(lines.append, every=0.02, clock=lambda: now[0]) as heartbeat:
        heartbeat.begin("step 1")
        for beat in range(1, 4):
            now[0] = 90.0 * beat
            wait_for(lines, beat)
    assert lines == [f"train  step 1: 0:0{time} so far" for time in ("1:30", "3:00", "4:30")]


def test_nothing_is_said_while_other_lines_appear() -> None:
    lines: list[str] = []
    with Heartbeat(lines.append, every=0.4) as heartbeat:
        heartbeat.begin("step 1")
        for _ in range(4):
            time.sleep(0.02)
            heartbeat.heard()
    assert lines == []


def test_an_error_ends_the_thread() -> None:
    """A thread that stays would print about a run that has ended."""
    with pytest.raises(ValueError, match="of the run"), Heartbeat(lambda _: None, every=0.02):
        raise ValueError("of the run")
    assert not any(thread.name == "heartbeat" for thread in threading.enumerate())
