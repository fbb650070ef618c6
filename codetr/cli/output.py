"""Output of commands on stdout: plain tables that are readable in a log too."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from codetr.cli.streams import discard_stdout
from codetr.core.durations import format_duration
from codetr.core.text import one_line

if TYPE_CHECKING:
    from codetr.core.manifest import Manifest

logger = logging.getLogger(__name__)

PAGES = ("report.html",)
"""Files of a step's folder that are pages for people."""


def console() -> Console:
    """Return a console on standard output that prints names and paths unchanged, without highlighting.

    Only a terminal has a width: in a pipe or a log every row of a table is one line, so that it can be searched.
    """
    width = None if sys.stdout.isatty() else 1000
    return Console(highlight=False, emoji=False, soft_wrap=True, width=width)


def plain(value: object) -> str:
    """Return a value as one line of text without markup, secrets and control characters."""
    return escape(one_line(value))


def figure(value: Any) -> str:
    """Return a value as text: metrics, which are fractions, with four decimals; a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or 1e-4 <= abs(value) <= 1 else f"{value:.4g}"
    return str(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """Print a table; columns of numbers are right-aligned."""
    listed = [list(row) for row in rows]
    table = Table(
        title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", show_header=any(columns)
    )
    for position, column in enumerate(columns):
        numeric = listed and all(isinstance(row[position], int | float | None) for row in listed)
        table.add_column(plain(column), justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        table.add_row(*(plain(figure(value)) for value in row))
    console().print(table)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values in nested mappings by dotted name, without lists."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{name}."))
        elif not isinstance(value, list | tuple):
            found[f"{prefix}{name}"] = value
    return found


def show_step(manifest: Manifest, output: Path, *, started: float) -> None:
    """Print what a finished step wrote, and how long it took; under torchrun on rank 0 only.

    The result is in `output`: a log that cannot be written does not make the step fail.

    Args:
        manifest: of the output.
        output: the folder.
        started: when the step started, as `time.monotonic` counts.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    try:
        _print_step(manifest, output, time.monotonic() - started)
        sys.stdout.flush()
    except OSError as error:
        logger.warning("The summary cannot be printed: %s", error.strerror)
        discard_stdout()


def _print_step(manifest: Manifest, output: Path, seconds: float) -> None:
    print_table(["", ""], [(name, figure(value)) for name, value in flat(manifest.summary).items()])
    out = console()
    out.print(f"[bold]{manifest.kind}[/] {plain(output)} [dim]{manifest.digest}[/], in {format_duration(seconds)}")
    for page in PAGES:
        if (output / page).is_file():
            out.print(f"open {plain((output / page).resolve())}")
