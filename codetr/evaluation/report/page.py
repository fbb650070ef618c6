"""One self-contained HTML page that shows an evaluation: no other file, no network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from codetr.data.lvis import FREQUENCIES
from codetr.evaluation.analysis.explain import MOST_PAIRS, Analysis, confused_pairs, errors_record
from codetr.evaluation.analysis.tide import TYPES
from codetr.evaluation.metrics.summary import Metrics
from codetr.evaluation.report.overlays import Overlay
from codetr.visual.html import data_uri, page_environment

_SUFFIXES = {"s": "small", "m": "medium", "l": "large", "r": "rare classes", "c": "common", "f": "frequent"}
_KINDS = {".png": "png", ".jpg": "jpeg"}


MEANINGS = {
    "classification": "In the right place, but of another class than the object there",
    "localisation": "The right class, but the box fits badly: IoU between 0.10 and 0.50",
    "both": "Near an object of another class, and the box fits badly",
    "duplicate": "An object that a detection with a higher score has found already",
    "background": "No object near: overlaps none by more than 0.10",
    "missed": "An object that no detection finds, not even one of a wrong class or in a wrong place",
}
"""What the types of mistakes are."""

_MOST_CAPTIONS = 20


@dataclass(frozen=True)
class Report:
    """What the page shows.

    Attributes:
        title: headline, e.g. the recipe's name.
        split: name of the split that was evaluated.
        analysis: what explains the numbers of the boxes.
        plots: caption and file of every plot.
        best: the best images.
        worst: the worst images.
        mistakes: for each type of mistake, examples of it.
        pictures: how many images were drawn; the page may show fewer.
        lineage: label and value of everything the evaluation was made from.
        masks: the numbers of the masks, None where masks were not measured.
        without_segmentation: how many objects kept masks from being measured, because they have no segmentation.
    """

    title: str
    split: str
    analysis: Analysis
    plots: list[tuple[str, Path]]
    best: list[Overlay]
    worst: list[Overlay]
    mistakes: list[tuple[str, list[Overlay]]]
    pictures: int
    lineage: list[tuple[str, str]]
    masks: Metrics | None = None
    without_segmentation: int = 0


@dataclass(frozen=True)
class Column:
    """A column of the table of classes.

    Attributes:
        heading: its name.
        view: the part of the table it belongs to: "all", "metrics", "sizes" or "mistakes".
        cells: what it is sorted by and what is shown, for every class.
    """

    heading: str
    view: str
    cells: list[tuple[float, str]]


def render_report(report: Report) -> str:
    """The page as HTML."""
    environment = page_environment("codetr.evaluation.report")
    environment.filters["number"] = number
    environment.filters["data_uri"] = lambda path: data_uri(_KINDS[path.suffix], path.read_bytes())
    environment.filters["label"] = label
    metrics = report.analysis.metrics
    return environment.get_template("report.html").render(
        report=report,
        metrics=metrics,
        masks=report.masks,
        analysis=report.analysis,
        columns=columns(report.analysis, report.masks),
        errors=errors_record(report.analysis),
        meanings=MEANINGS,
        pairs=confused_pairs(report.analysis),
        most_pairs=MOST_PAIRS,
        most_captions=_MOST_CAPTIONS,
        frequencies=FREQUENCIES,
    )


def columns(analysis: Analysis, masks: Metrics | None) -> list[Column]:
    """The table of classes, without the first column, their names."""
    metrics, used = analysis.metrics, analysis.used
    classes = metrics.classes

    def ratios(heading: str, view: str, values: list[float | None]) -> Column:
        return Column(heading, view, [(-1 if value is None else round(value, 5), number(value)) for value in values])

    def counts(heading: str, view: str, values: list[int]) -> Column:
        return Column(heading, view, [(value, f"{value:,}") for value in values])

    result = [
        ratios("AP", "all", [entry.AP for entry in classes]),
        counts("Objects", "all", [entry.ground_truths for entry in classes]),
    ]
    if metrics.federated:
        ranks = {letter: rank for rank, letter in enumerate(FREQUENCIES)}
        cells = [
            (float(ranks.get(entry.frequency or "", -1)), FREQUENCIES.get(entry.frequency or "", "\u2013"))
            for entry in classes
        ]
        result.append(Column("Frequency", "all", cells))
    if masks is not None:
        result.append(ratios("Mask AP", "metrics", [entry.AP for entry in masks.classes]))
        result.append(ratios("Mask AP50", "metrics", [entry.AP50 for entry in masks.classes]))
    result += [
        ratios("AP50", "metrics", [entry.AP50 for entry in classes]),
        ratios("AP75", "metrics", [entry.AP75 for entry in classes]),
        ratios(metrics.recall_name, "metrics", [entry.AR for entry in classes]),
        ratios("Precision", "metrics", [entry.precision for entry in classes]),
        ratios("Recall", "metrics", [entry.recall for entry in classes]),
        counts("Images", "metrics", [entry.images for entry in classes]),
        counts("Detections", "metrics", [entry.detections for entry in classes]),
        ratios("AP small", "sizes", [entry.APs for entry in classes]),
        counts("Small", "sizes", [entry.small for entry in classes]),
        ratios("AP medium", "sizes", [entry.APm for entry in classes]),
        counts("Medium", "sizes", [entry.medium for entry in classes]),
        ratios("AP large", "sizes", [entry.APl for entry in classes]),
        counts("Large", "sizes", [entry.large for entry in classes]),
    ]
    mistakes = analysis.errors.counts(metrics.operating_point.score)
    result += [counts(name.capitalize(), "mistakes", mistakes[:, k].tolist()) for k, name in enumerate(TYPES)]
    gaps = [
        (round(gap, 5), f"{gap:+.3f}") if count else (-2.0, "\u2013")
        for gap, count in zip(used.class_gap.tolist(), used.class_count.tolist(), strict=True)
    ]
    return [*result, Column("Too sure by", "mistakes", gaps)]


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
