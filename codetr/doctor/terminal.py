"""An examination as tables in the terminal: splits, classes, findings, and how many of each severity."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from codetr.data.ingest.summary import MAX_LISTED, Report
from codetr.data.validation.finding_kinds import KINDS, SEVERITIES
from codetr.doctor.examination import Examination

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


def print_report(report: Report, console: Console) -> None:
    """Show a report as tables: the splits, the classes, the findings with their first example, the advice."""
    print_splits(report, console)
    print_classes(report, console)
    table = Table("split", "finding", "count", "what it means", "first example")
    for name, split in report.splits.items():
        for finding in split.findings:
            action = f"{finding.name} ({finding.kind.action})"
            table.add_row(name, action, str(finding.count), finding.kind.meaning, escape(finding.examples[0]))
    if table.row_count:
        console.print(table)
    else:
        console.print("[green]Nothing was dropped, repaired or found suspicious.[/]")
    for sentence in report.advice:
        console.print(f"[yellow]![/] {escape(sentence)}")


def print_splits(report: Report, console: Console) -> None:
    """Show what every split consists of."""
    table = Table(
        "split", "images", "empty", "annotations", "trained on", "crowds", "segmentations", "small / medium / large"
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


def print_classes(report: Report, console: Console) -> None:
    """Show the objects of every class, or of the most and the least frequent ones where there are many."""
    table = Table("class", *(f"{name}: objects (images)" for name in report.splits))
    classes = next(iter(report.splits.values())).classes
    ordered = sorted(classes, key=lambda name: -classes[name]["objects"])
    shown = ordered if len(ordered) <= MAX_LISTED else [*ordered[: MAX_LISTED // 2], *ordered[-MAX_LISTED // 2 :]]
    for name in shown:
        cells = (split.classes[name] for split in report.splits.values())
        table.add_row(escape(name), *(f"{cell['objects']} ({cell['images']})" for cell in cells))
    if len(shown) < len(ordered):
        table.caption = f"the most and the least frequent of {len(ordered)} classes"
    console.print(table)
