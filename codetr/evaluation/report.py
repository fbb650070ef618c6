"""One self-contained HTML page that shows an evaluation: no other file, no network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from codetr.evaluation.matches import ImageMetrics
from codetr.evaluation.metrics import Metrics
from codetr.pages import data_uri, page_environment

_SUFFIXES = {"s": "small", "m": "medium", "l": "large", "r": "rare classes", "c": "common", "f": "frequent"}
_KINDS = {".png": "png", ".jpg": "jpeg"}


@dataclass(frozen=True)
class Picture:
    """A picture in the report: the image file and the numbers of the image it shows."""

    path: Path
    image: ImageMetrics


@dataclass(frozen=True)
class Report:
    """What the page shows.

    Attributes:
        title: headline, e.g. the recipe's name.
        split: name of the split that was evaluated.
        metrics: the numbers of the boxes.
        plots: caption and file of every plot.
        best: pictures of the best images.
        worst: pictures of the worst images.
        lineage: label and value of everything the evaluation was made from.
        masks: the numbers of the masks, None where masks were not measured.
        without_outline: how many objects kept masks from being measured, because they have no outline.
    """

    title: str
    split: str
    metrics: Metrics
    plots: list[tuple[str, Path]]
    best: list[Picture]
    worst: list[Picture]
    lineage: list[tuple[str, str]]
    masks: Metrics | None = None
    without_outline: int = 0


def render_report(report: Report) -> str:
    """The page as HTML."""
    environment = page_environment("codetr.evaluation")
    environment.filters["number"] = number
    environment.filters["data_uri"] = lambda path: data_uri(_KINDS[path.suffix], path.read_bytes())
    environment.filters["label"] = label
    metrics, masks = report.metrics, report.masks
    mask_classes = [None] * len(metrics.classes) if masks is None else masks.classes
    classes = list(zip(metrics.classes, mask_classes, strict=True))
    template = environment.get_template("report.html")
    return template.render(report=report, metrics=metrics, masks=masks, classes=classes)


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits; a dash where there is nothing to measure."""
    return "\u2013" if value is None else f"{value:.{digits}f}"


def label(name: str) -> str:
    """What a metric's short name means: `APs` is "AP, small", `AR@300` is "AR, 300 detections per image"."""
    kind, rest = name[:2], name[2:]
    size, _, limit = rest.partition("@")
    if size in _SUFFIXES:
        return f"{kind}, {_SUFFIXES[size]}"
    if rest and kind == "AP":
        return f"{kind}, IoU 0.{rest}"
    if count := limit or size:
        return f"{kind}, {count} detection{'' if count == '1' else 's'} per image"
    return name
