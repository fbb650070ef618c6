"""Print the report on a dataset as tables: splits, classes, findings, and the number of findings by severity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from codetr.core.text import counted, one_line
from codetr.data.ingest.summary import MAX_LISTED, DatasetReport
from codetr.data.validation.dataset_findings import DatasetFinding
from codetr.data.validation.finding_kind import SEVERITIES
from codetr.data.validation.finding_kinds import KINDS

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_FIX = {"removed": "--fix removes it (COCO files).", "corrected": "--fix corrects it (COCO files).", "": ""}


def print_report(report: DatasetReport, findings: Sequence[DatasetFinding], console: Console) -> None:
    """Print a report; where the output is no terminal, every finding is one line, so that it can be searched.

    Args:
        report: what `prepare` wrote.
        findings: its findings, or those of an examination.
        console: where to print.
    """
    print_splits(report, console)
    print_classes(report, console)
    splits = list(report.splits)
    table = Table("severity")
    table.add_column("finding", no_wrap=True)
    for split in splits:
        table.add_column(split, justify="right")
    for heading in ("meaning and what to do", "example"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        kind = finding.kind
        counts = [str(finding.counts.get(split, "")) for split in splits]
        if "" in finding.counts:  # of classes, which belong to no split
            counts = [str(finding.counts[""]), *[""] * (len(splits) - 1)]
        table.add_row(
            f"[{_COLOURS[kind.severity]}]{kind.severity}[/]",
            finding.name,
            *counts,
            escape(f"{kind.meaning}. {what_to_do(finding.name)}".strip()),
            escape(one_line(finding.examples[0].text)) if finding.examples else "",
        )
    if not table.row_count:
        console.print("[green]No findings.[/]")
        return
    console.print(table)
    of_severity = Counter(finding.kind.severity for finding in findings)
    shown = ", ".join(counted(of_severity[severity], severity) for severity in SEVERITIES)
    console.print(f"[bold]{shown}[/]")


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
    table = Table(
        "split",
        "images",
        "without objects",
        "annotations",
        "trained on",
        "crowds",
        "segmentations",
        "small / medium / large",
    )
    for name, split in report.splits.items():
        sizes = " / ".join(str(count) for count in split.box_sizes.values())
        images, annotations = (
            f"{kept}" if kept == listed else f"{kept} of {listed}"
            for kept, listed in ((split.images, split.listed_images), (split.annotations, split.listed_annotations))
        )
        numbers = (split.empty_images, split.trainable, split.crowds, split.segmentations)
        empty, trainable, crowds, segmentations = map(str, numbers)
        table.add_row(name, images, empty, annotations, trainable, crowds, segmentations, sizes)
    console.print(table)


def print_classes(report: DatasetReport, console: Console) -> None:
    """Print the objects of every class, or of the most and the least frequent ones if there are many."""
    table = Table("class", *(f"{name}: objects (images)" for name in report.splits))
    ordered = sorted(report.classes, key=lambda entry: -entry.objects["train"])
    shown = ordered if len(ordered) <= MAX_LISTED else [*ordered[: MAX_LISTED // 2], *ordered[-MAX_LISTED // 2 :]]
    for entry in shown:
        table.add_row(
            escape(one_line(entry.name)), *(f"{entry.objects[name]} ({entry.images[name]})" for name in report.splits)
        )
    if len(shown) < len(ordered):
        table.caption = f"the most and the least frequent of {len(ordered)} classes"
    console.print(table)
