"""An examination as tables in the terminal: splits, classes, findings, and how many of each severity."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from codetr.data.doctor.examination import Examination
from codetr.data.doctor.summary import print_classes, print_splits
from codetr.data.validation.finding_kinds import KINDS, SEVERITIES

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def print_examination(examination: Examination, console: Console) -> None:
    """Show an examination; in a pipe every finding is one line, so that it can be searched."""
    print_splits(examination.report, console)
    print_classes(examination.report, console)
    splits = list(examination.report.splits)
    table = Table("severity")
    table.add_column("finding", no_wrap=True)
    for split in splits:
        table.add_column(split, justify="right")
    for heading in ("what it means and what to do", "for example"):
        table.add_column(heading, overflow="fold")
    for finding in examination.findings:
        kind = finding.kind
        counts = [str(finding.counts.get(split, "")) for split in splits]
        if "" in finding.counts:  # of classes, which belong to no split
            counts = [str(finding.counts[""]), *[""] * (len(splits) - 1)]
        table.add_row(
            f"[{_COLOURS[kind.severity]}]{kind.severity}[/]",
            finding.name,
            *counts,
            escape(f"{kind.meaning}. {what_to_do(finding.name)}".strip()),
            escape(finding.examples[0].text) if finding.examples else "",
        )
    if table.row_count:
        console.print(table)
    counted = [(examination.count(severity), severity) for severity in SEVERITIES]
    if not table.row_count:
        console.print("[green]Nothing is wrong, nothing is noteworthy.[/]")
    else:
        parts = [f"{count} {severity}{'' if count == 1 else 's'}" for count, severity in counted]
        console.print(f"[bold]{', '.join(parts)}[/]")


def what_to_do(name: str) -> str:
    """What can be done about a kind of finding, in full sentences."""
    kind = KINDS[name]
    mended = {"removed": "In a COCO file --fix removes it.", "corrected": "In a COCO file --fix corrects it.", "": ""}[
        kind.fix
    ]
    return " ".join(part for part in (kind.advice, mended) if part)
