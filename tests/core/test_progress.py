"""Progress: every item is passed on, and what is shown suits a terminal or a log."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from codetr.core import progress
from codetr.core.progress import track


def shown(count: int, total: int | None, *, terminal: bool) -> str:
    text = StringIO()
    console = Console(file=text, force_terminal=terminal, width=100)
    assert list(track(range(count), total, "reading", console)) == list(range(count))
    return text.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_items_numbers_and_speed(terminal: bool) -> None:
    text = shown(12, 12, terminal=terminal)
    assert "reading" in text
    assert "12/12" in text
    assert "/s" in text


def test_an_unknown_total_is_left_out() -> None:
    assert shown(3, None, terminal=False).startswith("reading: 3, ")


def test_a_log_gets_lines_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is silent for an hour looks like a process that hangs."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    lines = shown(3, 3, terminal=False).splitlines()
    assert [line.split(",")[0] for line in lines] == ["reading: 1/3", "reading: 2/3", "reading: 3/3"]
    assert "s left" in lines[0]


def test_nothing_is_one_line() -> None:
    assert len(shown(0, 0, terminal=False).splitlines()) == 1
