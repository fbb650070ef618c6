"""Progress over many items: a bar with speed and remaining time on a terminal, a line at intervals elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

LINE_SECONDS = 30.0
"""Seconds between lines where there is no terminal, e.g. in the log of a cluster."""


def track(items: Iterable[T], total: int | None, label: str, console: Console | None = None) -> Iterator[T]:
    """Yield `items`, and show the progress on standard error. `total` is None where it is unknown, as of a stream."""
    console = console or Console(stderr=True)
    yield from _bar(items, total, label, console) if console.is_terminal else _lines(items, total, label, console)


def _bar(items: Iterable[T], total: int | None, label: str, console: Console) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=total, speed="")
        for count, item in enumerate(items, start=1):
            yield item
            progress.update(task, advance=1, speed=_speed(count, started))


def _lines(items: Iterable[T], total: int | None, label: str, console: Console) -> Iterator[T]:
    started = last = time.monotonic()
    count = 0
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LINE_SECONDS and count != total:
            last = now
            left = "" if total is None else f", {max(total - count, 0) * (now - started) / count:.0f} s left"
            line = f"{label}: {_of(count, total)}, {_speed(count, started)}{left}"
            console.print(line, highlight=False, soft_wrap=True)
    seconds = time.monotonic() - started
    line = f"{label}: {_of(count, total)}, {_speed(count, started)}, done in {seconds:.1f} s"
    console.print(line, highlight=False, soft_wrap=True)


def _of(count: int, total: int | None) -> str:
    return str(count) if total is None else f"{count}/{total}"


def _speed(count: int, started: float) -> str:
    """Items per second, with a digit after the point where there are few."""
    speed = count / max(time.monotonic() - started, 1e-6)
    return f"{speed:.0f}/s" if speed >= 10 else f"{speed:.1f}/s"
