"""Print the report on a dataset: tables of splits and classes, a block of lines for each finding, and their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from codetr.core.text import counted, one_line
from codetr.data.ingest.summary import MAX_LISTED, DatasetReport
from codetr.data.validation.dataset_findings import DatasetFinding
from codetr.data.validation.finding_kind import SEVERITIES
from codetr.data.validation.finding_kinds import KINDS

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_INDENT = "    "
_FIX = {"removed": "--fix removes it (COCO files).", "corrected": "--fix corrects it (COCO files).", "": ""}


def print_report(report: DatasetReport, findings: Sequence[DatasetFinding], console: Console) -> None:
    """Print splits, classes, and a block of lines for every finding.

    Args:
        report: what `prepare` wrote.
        findings: its findings, or those of an examination.
        console: where to print; lines are wrapped at its width.
    """
    print_splits(report, console)
    print_classes(report, console)
    if not findings:
        console.print("[green]No findings.[/]")
        return
    for finding in findings:
        print_finding(finding, console)
    of_severity = Counter(finding.kind.severity for finding in findings)
    shown = ", ".join(counted(of_severity[severity], severity) for severity in SEVERITIES)
    console.print(f"\n[bold]{shown}[/]")


def print_finding(finding: DatasetFinding, console: Console) -> None:
    """Print one finding: severity, name and number, what it means, an example, and what to do."""
    kind = finding.kind
    split_counts = ", ".join(f"{split} {count:,}" if split else f"{count:,}" for split, count in finding.counts.items())
    console.print(f"\n[{_COLOURS[kind.severity]}]{kind.severity}[/] [bold]{finding.name}[/]: {escape(split_counts)}")
    _print_indented(f"{kind.meaning[:1].upper()}{kind.meaning[1:]}.", console)
    if finding.examples:
        _print_indented(f"example: {one_line(finding.examples[0].text)}", console)
    if advice := what_to_do(finding.name):
        _print_indented(f"to do: {advice}", console)


def _print_indented(text: str, console: Console) -> None:
    for line in Text(text).wrap(console, console.width - len(_INDENT), overflow="fold"):
        line.rstrip()
        console.print(Text(_INDENT) + line, soft_wrap=True)


def print_errors(findings: Sequence[DatasetFinding], console: Console) -> None:
    """Print the errors again, a line each, as the last thing that is seen: they lose data or falsify metrics."""
    for finding in findings:
        if finding.kind.severity == "error":
            text = f"{finding.name} ({finding.count}): {finding.kind.meaning}. {what_to_do(finding.name)}".strip()
            console.print(f"[{_COLOURS['error']}]error[/] {escape(text)}")


def what_to_do(name: str) -> str:
    """Return what can be done about a kind of finding, in full sentences."""
    kind = KINDS[name]
    return " ".join(part for part in (kind.advice, _FIX[kind.fix]) if part)


def print_splits(report: DatasetReport, console: Console) -> None:
    """Print the numbers of images and annotations of every split."""
    table = _table("split", "images", "empty", "annotations", "trained on", "crowds", "masks", "S / M / L")
    for name, split in report.splits.items():
        images, annotations = (
            f"{kept}" if kept == listed else f"{kept} of {listed}"
            for kept, listed in ((split.images, split.listed_images), (split.annotations, split.listed_annotations))
        )
        numbers = (split.empty_images, annotations, split.trainable, split.crowds, split.segmentations)
        table.add_row(name, images, *map(str, numbers), " / ".join(map(str, split.box_sizes.values())))
    console.print(table)


def print_classes(report: DatasetReport, console: Console) -> None:
    """Print the objects of every class, or of the most and the least frequent ones if there are many."""
    console.print("\nObjects, and the images that have them:")
    table = _table("class", *report.splits)
    ordered = sorted(report.classes, key=lambda entry: -entry.objects["train"])
    shown = ordered if len(ordered) <= MAX_LISTED else [*ordered[: MAX_LISTED // 2], *ordered[-MAX_LISTED // 2 :]]
    for entry in shown:
        table.add_row(
            escape(one_line(entry.name)), *(f"{entry.objects[name]} ({entry.images[name]})" for name in report.splits)
        )
    console.print(table)
    if len(shown) < len(ordered):
        console.print(f"The most and the least frequent of {len(ordered)} classes.")


def _table(first: str, *others: str) -> Table:
    """Return an empty table without lines: a row is one line that can be searched where the output is no terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for heading in others:
        table.add_column(heading, justify="right", overflow="fold")
    return table
