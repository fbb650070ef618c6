"""One self-contained HTML page that shows an evaluation: no other file, no network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from codetr.data.lvis import FREQUENCIES
from codetr.evaluation.analysis.explain import MAX_PAIRS, Analysis, confused_pairs, errors_record
from codetr.evaluation.analysis.tide import TYPES
from codetr.evaluation.comparison.bootstrap import MIN_IMAGES
from codetr.evaluation.comparison.champion import NOT_COMPARED, ChampionVerdict
from codetr.evaluation.metrics.summary import Metrics
from codetr.evaluation.report.champion_section import ChampionSection
from codetr.evaluation.report.comparison_page import add_comparison_filters
from codetr.evaluation.report.overlays import Overlay
from codetr.evaluation.report.training import TrainingHistory
from codetr.visual.html import data_uri, page_environment

_KINDS = {".png": "png", ".jpg": "jpeg"}
_MAX_CAPTIONS = 20

MAX_COMPARED_CLASSES = 300
"""Classes in the table of the comparison with the champion; `champion.json` has all."""

MEANINGS = {
    "classification": "Correct box, wrong class: IoU of 0.50 or more with an object of another class",
    "localisation": "Correct class, inaccurate box: IoU between 0.10 and 0.50",
    "both": "Wrong class and inaccurate box",
    "duplicate": "Object already matched by a detection with a higher score",
    "background": "No object: IoU of at most 0.10 with any",
    "missed": "Object without a detection, not even one of a wrong class or with an inaccurate box",
}
"""The types of errors."""


@dataclass(frozen=True)
class EvaluationReport:
    """What the page shows.

    Attributes:
        title: the model: the name of its recipe.
        split: name of the split that was evaluated.
        analysis: what explains the metrics of the boxes.
        plots: caption and file of every plot.
        best: the best images.
        worst: the worst images.
        errors: for each type of error, examples of it.
        pictures: how many images were drawn; the page may show fewer.
        lineage: label and value of everything the evaluation was made from.
        masks: the metrics of the masks, None if there are none.
        without_segmentation: objects without a segmentation, if mask metrics are missing because of them.
        verdict: whether the model is better than the champion.
        champion: the comparison with the champion, None if there is none.
        training: the course of the training, None if it is not known.
    """

    title: str
    split: str
    analysis: Analysis
    plots: list[tuple[str, Path]]
    best: list[Overlay]
    worst: list[Overlay]
    errors: list[tuple[str, list[Overlay]]]
    pictures: int
    lineage: list[tuple[str, str]]
    masks: Metrics | None = None
    without_segmentation: int = 0
    verdict: ChampionVerdict = NOT_COMPARED
    champion: ChampionSection | None = None
    training: TrainingSection | None = None


@dataclass(frozen=True)
class TrainingSection:
    """What the page shows of the training.

    Attributes:
        history: its course.
        plot: file of the curves.
    """

    history: TrainingHistory
    plot: Path


@dataclass(frozen=True)
class Column:
    """A column of the table of classes.

    Attributes:
        heading: its name.
        view: the part of the table it belongs to: "all", "metrics", "sizes" or "errors".
        cells: the text of every class.
    """

    heading: str
    view: str
    cells: list[str]


def render_report(report: EvaluationReport) -> str:
    """Return the page as HTML."""
    environment = page_environment("codetr.evaluation.report")
    environment.filters["number"] = number
    add_comparison_filters(environment)
    environment.filters["data_uri"] = lambda path: data_uri(_KINDS[path.suffix], path.read_bytes())
    return environment.get_template("report.html").render(
        report=report,
        metrics=report.analysis.metrics,
        masks=report.masks,
        analysis=report.analysis,
        columns=columns(report.analysis, report.masks),
        errors=errors_record(report.analysis),
        meanings=MEANINGS,
        pairs=confused_pairs(report.analysis),
        max_pairs=MAX_PAIRS,
        max_captions=_MAX_CAPTIONS,
        frequencies=FREQUENCIES,
        min_images=MIN_IMAGES,
        max_compared_classes=MAX_COMPARED_CLASSES,
    )


def columns(analysis: Analysis, masks: Metrics | None) -> list[Column]:
    """Return the table of classes, without the first column, their names."""
    metrics, calibration = analysis.metrics, analysis.calibration_at_threshold
    classes = metrics.classes

    def ratios(heading: str, view: str, values: list[float | None]) -> Column:
        return Column(heading, view, [number(value) for value in values])

    def counts(heading: str, view: str, values: list[int]) -> Column:
        return Column(heading, view, [f"{value:,}" for value in values])

    result = [
        ratios("AP", "all", [entry.AP for entry in classes]),
        counts("Objects", "all", [entry.ground_truths for entry in classes]),
    ]
    if metrics.federated:
        cells = [FREQUENCIES.get(entry.frequency or "", "\u2013") for entry in classes]
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
    errors = analysis.errors.counts(metrics.operating_point.score)
    result += [counts(name.capitalize(), "errors", errors[:, k].tolist()) for k, name in enumerate(TYPES)]
    overconfidence = [
        f"{value:+.3f}" if count else "\u2013"
        for value, count in zip(calibration.overconfidence.tolist(), calibration.class_count.tolist(), strict=True)
    ]
    return [*result, Column("Overconfidence", "errors", overconfidence)]


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed digits, a dash where there is nothing to measure."""
    return "\u2013" if value is None else f"{value:.{digits}f}"
