"""Progress over many items: a bar with speed and time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

LINE_SECONDS = 30.0
"""Seconds between lines where there is no terminal, e.g. in the log of a cluster."""


def track(items: Iterable[T], total: int, label: str, console: Console | None = None) -> Iterator[T]:
    """Yield `items` and show how far it is, on standard error."""
    console = console or Console(stderr=True)
    yield from _bar(items, total, label, console) if console.is_terminal else _lines(items, total, label, console)


def _bar(items: Iterable[T], total: int, label: str, console: Console) -> Iterator[T]:
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
            speed = count / max(time.monotonic() - started, 1e-6)
            progress.update(task, advance=1, speed=f"{speed:.0f}/s")


def _lines(items: Iterable[T], total: int, label: str, console: Console) -> Iterator[T]:
    started = last = time.monotonic()
    count = 0
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LINE_SECONDS and count < total:
            last = now
            speed = count / (now - started)
            line = f"{label}: {count}/{total}, {speed:.0f}/s, {(total - count) / speed:.0f} s left"
            console.print(line, highlight=False, soft_wrap=True)
    seconds = time.monotonic() - started
    line = f"{label}: {count}/{total}, {count / max(seconds, 1e-6):.0f}/s, done in {seconds:.1f} s"
    console.print(line, highlight=False, soft_wrap=True)
