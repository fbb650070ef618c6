"""What commands print on stdout: plain tables that also read well in a log."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from codetr.core.manifest import Manifest

PAGES = ("report.html",)
"""Files of a step's folder that are made for people."""


def console() -> Console:
    """Standard output; names and paths are printed as they are, without guessing numbers and URLs in them.

    Only a terminal has an edge: in a pipe or a log a row of a table stays one line, so that it can be searched.
    """
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 1000)


def plain(value: object) -> str:
    """A value as text that is printed as it is: no markup, and file names that are no UTF-8 made visible."""
    return escape(str(value).encode(errors="backslashreplace").decode())


def figure(value: Any) -> str:
    """A value as text: four digits for fractions, a dash for nothing, as in "not measured"."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """Print a table; columns of which every value is a number are set flush right."""
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
    """The single values in nested mappings, by dotted name; lists are left out."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{name}."))
        elif not isinstance(value, list | tuple):
            found[f"{prefix}{name}"] = value
    return found


def show_step(manifest: Manifest, output: Path) -> None:
    """Say what a finished step wrote; under torchrun the first process does."""
    if os.environ.get("RANK", "0") != "0":
        return
    print_table(["", ""], [(name, figure(value)) for name, value in flat(manifest.summary).items()])
    out = console()
    out.print(f"[bold]{manifest.kind}[/] {plain(output)} [dim]{manifest.digest}[/]")
    for page in PAGES:
        if (output / page).is_file():
            out.print(f"open {plain((output / page).resolve())}")
