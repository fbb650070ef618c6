"""Write the examination of a dataset as a self-contained HTML page with pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codetr.core.files import write_text
from codetr.data.dataset.split import Split
from codetr.data.validation.dataset_findings import DatasetFinding, Example
from codetr.data.validation.finding_kind import SEVERITIES
from codetr.doctor.charts import draw_classes, draw_sizes
from codetr.doctor.examination import Examination
from codetr.doctor.pictures import draw_example
from codetr.doctor.terminal import what_to_do
from codetr.visual.html import data_uri, page_environment

MAX_PICTURES = 6
"""Limit on pictures of one kind of finding."""

_MAX_BYTES = 6 << 20
"""Limit on all pictures together; Base64 makes them a third larger in the page."""


@dataclass(frozen=True)
class _Shown:
    """A finding with pictures of some of its examples, as `data:` URIs."""

    finding: DatasetFinding
    advice: str
    pictures: list[tuple[Example, str]]


def write_page(examination: Examination, path: Path, *, title: str) -> None:
    """Write the page."""
    splits = {name: Split.open(examination.dataset, name) for name in examination.report.splits}
    shown = _with_pictures(examination, splits)
    charts = [
        ("Objects by class", data_uri("png", draw_classes(examination.report.classes))),
        ("Sizes of objects and images", data_uri("png", draw_sizes(splits, examination.preprocess))),
    ]
    most = max(max(entry.objects.values()) for entry in examination.report.classes)
    html = (
        page_environment("codetr.doctor")
        .get_template("doctor.html")
        .render(
            title=title,
            report=examination.report,
            shown=shown,
            severities=[(severity, examination.count(severity)) for severity in SEVERITIES],
            classes=sorted(examination.report.classes, key=lambda entry: -entry.objects["train"]),
            log_share=lambda count: 100 * np.log1p(count) / np.log1p(max(most, 1)),
            charts=charts,
            resolution=_resolution(examination),
        )
    )
    write_text(path, html)


def _with_pictures(examination: Examination, splits: Mapping[str, Split]) -> list[_Shown]:
    shown, left = [], _MAX_BYTES
    for finding in examination.findings:
        pictures: list[tuple[Example, str]] = []
        for example in _spread(finding.examples):
            content = draw_example(example, splits) if left > 0 else None
            if content is not None:
                left -= len(content)
                pictures.append((example, data_uri("jpeg", content)))
            if len(pictures) == MAX_PICTURES:
                break
        shown.append(_Shown(finding, what_to_do(finding.name), pictures))
    return shown


def _spread(examples: list[Example]) -> list[Example]:
    """Return the examples in an order that begins with different images."""
    seen: set[tuple[str, int | None]] = set()
    first: list[Example] = []
    rest: list[Example] = []
    for example in examples:
        key = example.split, example.image
        (rest if key in seen else first).append(example)
        seen.add(key)
    step = max(1, len(first) // MAX_PICTURES)
    return [*first[::step], *(example for k, example in enumerate(first) if k % step), *rest]


def _resolution(examination: Examination) -> str:
    preprocess = examination.preprocess
    if preprocess.canvas is not None:
        return f"canvas of {preprocess.canvas} by {preprocess.canvas} pixels"
    return f"short side {preprocess.short_side} pixels, long side at most {preprocess.long_side}"
