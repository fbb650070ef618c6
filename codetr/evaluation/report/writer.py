"""Write the files of an evaluation: numbers, plots, pictures and the report."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from codetr.core.files import write_json, write_text
from codetr.evaluation.analysis.explain import Analysis, analyse, calibration_record, confusion_record, errors_record
from codetr.evaluation.comparison.champion import Against, ChampionVerdict, compared_with
from codetr.evaluation.comparison.match_table import MASK_MATCHES, MATCHES, MatchTable
from codetr.evaluation.evaluate import METRICS, EvaluationMetrics
from codetr.evaluation.metrics.matching import IOU_THRESHOLDS
from codetr.evaluation.metrics.metric_spec import IOU50, IOU75
from codetr.evaluation.metrics.operating_point import ImageMetrics
from codetr.evaluation.metrics.precision_recall import RECALL_THRESHOLDS
from codetr.evaluation.metrics.summary import Metrics
from codetr.evaluation.report.champion_section import champion_section
from codetr.evaluation.report.overlays import OverlayBuilder, within_byte_budget
from codetr.evaluation.report.page import EvaluationReport, TrainingSection, render_report
from codetr.evaluation.report.pictures import choose, draw_picture
from codetr.evaluation.report.plots import plot_calibration, plot_classes, plot_confusion, plot_precision_recall
from codetr.evaluation.report.training import TrainingHistory, plot_training
from codetr.evaluation.tables.coco_json import write_predictions
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable

if TYPE_CHECKING:
    from codetr.data.dataset.split import Split


REPORT = "report.html"
"""The page in the folder of an evaluation."""

PICTURE_BYTES = 5 << 19
"""Budget of the report's best images, and as much for its worst, so that it stays below 10 MB."""

_MAX_EXAMPLES = 4
"""Examples of a type of error."""


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A detector's predictions on a split, and their metrics.

    Attributes:
        split: the images.
        truth: ground truth.
        predictions: the detections.
        results: the metrics of boxes and masks.
    """

    split: Split
    truth: GroundTruth
    predictions: PredictionTable
    results: EvaluationMetrics

    @property
    def metrics(self) -> Metrics:
        """The metrics of the boxes, by which images are ranked and a score threshold is chosen."""
        return self.results.boxes

    @cached_property
    def analysis(self) -> Analysis:
        """What explains the metrics of the boxes."""
        return analyse(self.truth, self.predictions, self.metrics)

    @property
    def classes(self) -> list[dict[str, Any]]:
        """Every class with its metrics by name; with masks, `mask_AP` and others too."""
        name = self.metrics.recall_name
        rows = []
        for entry in self.metrics.classes:
            row = {name if field == "AR" else field: value for field, value in dataclasses.asdict(entry).items()}
            if not self.metrics.federated:
                del row["frequency"]
            rows.append(row)
        if self.results.masks is not None:
            for row, entry in zip(rows, self.results.masks.classes, strict=True):
                row |= {"mask_AP": entry.AP, "mask_AP50": entry.AP50, "mask_AP75": entry.AP75, f"mask_{name}": entry.AR}
        return rows

    def pixels(self, image_id: int) -> NDArray[np.uint8]:
        """Return an image, (height, width, 3) RGB."""
        (index,) = np.flatnonzero(self.split.image_ids == image_id)
        return self.split.record(int(index)).read()


def write_evaluation(
    folder: Path,
    evaluated: Evaluated,
    *,
    title: str,
    lineage: list[tuple[str, str]],
    count: int,
    against: Against,
    training: TrainingHistory | None = None,
) -> ChampionVerdict:
    """Write every file of an evaluation but its manifest.

    Args:
        folder: an existing, empty folder.
        evaluated: what to show.
        title: headline of the report.
        lineage: label and value of everything the evaluation was made from, for the report.
        count: how many of the best and how many of the worst images to draw.
        against: the champion to compare with, or why there is none.
        training: the course of the model's training.

    Returns:
        Whether the model is better than the champion.
    """
    metrics, results, analysis = evaluated.metrics, evaluated.results, evaluated.analysis
    write_predictions(folder / "predictions.json", evaluated.predictions, evaluated.truth)
    tables = {
        name: MatchTable.of(part.matching, evaluated.truth)
        for name, part in ((MATCHES, results.boxes), (MASK_MATCHES, results.masks))
        if part is not None
    }
    for name, table in tables.items():
        table.write(folder / name)
    verdict, comparison = compared_with(against, tables, metrics.images)
    write_json(folder / METRICS, results.flat)
    write_json(folder / "per_class.json", evaluated.classes)
    write_json(folder / "per_image.json", [dataclasses.asdict(entry) for entry in metrics.images])
    write_json(folder / "pr_curve.json", curve_points(metrics))
    write_json(folder / "errors.json", errors_record(analysis))
    write_json(folder / "confusion.json", confusion_record(analysis))
    write_json(folder / "calibration.json", calibration_record(analysis))
    choice = choose(metrics, count)
    overlays = OverlayBuilder(evaluated.truth, evaluated.predictions, analysis, evaluated.pixels)
    has_masks = results.masks is not None
    worst, best = (
        (overlays.whole(image, path if has_masks else None) for image, path in zip(images, paths, strict=True))
        for images, paths in (
            (choice.worst, draw_pictures(folder / "pictures", "worst", choice.worst, evaluated)),
            (choice.best, draw_pictures(folder / "pictures", "best", choice.best, evaluated)),
        )
    )
    report = EvaluationReport(
        title=title,
        split=evaluated.split.name,
        analysis=analysis,
        plots=draw_plots(folder / "plots", results, analysis),
        best=within_byte_budget(best, PICTURE_BYTES),
        worst=within_byte_budget(worst, PICTURE_BYTES),
        errors=overlays.examples_of_errors(min(count, _MAX_EXAMPLES)),
        pictures=len(choice.best) + len(choice.worst),
        lineage=lineage,
        masks=results.masks,
        without_segmentation=results.without_segmentation,
        verdict=verdict,
        champion=None
        if comparison is None
        else champion_section(folder, comparison, overlays, curve_points(metrics), count),
        training=None if training is None else training_section(folder / "plots" / "training.png", training),
    )
    write_text(folder / REPORT, render_report(report))
    return verdict


def training_section(path: Path, history: TrainingHistory) -> TrainingSection:
    """Plot the course of a training for the report."""
    plot_training(history, path)
    return TrainingSection(history, path)


def curve_points(metrics: Metrics) -> list[dict[str, float | None]]:
    """Return the precision-recall curve, mean over classes, as one record per recall: for tools that plot data.

    `precision` is the mean over IoU 0.50 to 0.95, `precision50` and `precision75` are those at one IoU.
    """
    present = [k for k, entry in enumerate(metrics.classes) if entry.AP is not None]
    curves = metrics.precision[:, :, present]
    points: list[dict[str, float | None]] = []
    for r, recall in enumerate(RECALL_THRESHOLDS):
        point: dict[str, float | None] = {"recall": round(float(recall), 2)}
        point["precision"] = float(curves[:, r].mean()) if present else None
        for t in (IOU50, IOU75):
            point[f"precision{round(100 * IOU_THRESHOLDS[t])}"] = float(curves[t, r].mean()) if present else None
        points.append(point)
    return points


def draw_plots(folder: Path, results: EvaluationMetrics, analysis: Analysis) -> list[tuple[str, Path]]:
    """Draw every plot into `folder` and return their captions and files."""
    metrics = results.boxes
    plots = [
        ("Precision over recall", folder / "precision_recall.png", plot_precision_recall),
        ("AP and AP50 by class", folder / "classes.png", plot_classes),
        ("Score threshold and calibration", folder / "calibration.png", plot_calibration),
    ]
    for _, path, draw in plots:
        draw(metrics, path)
    drawn = [(caption, path) for caption, path, _ in plots]
    if results.masks is not None:
        path = folder / "mask_precision_recall.png"
        plot_precision_recall(results.masks, path)
        drawn.insert(1, ("Precision over recall of masks", path))
    path = folder / "confusion.png"
    if plot_confusion(analysis, path):
        drawn.append(("Confusion matrix", path))
    return drawn


def draw_pictures(folder: Path, kind: str, images: list[ImageMetrics], evaluated: Evaluated) -> list[Path]:
    """Draw images with ground truth and detections as `<kind>_<rank>_<image id>.jpg` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for rank, image in enumerate(images, start=1):
        picture = draw_picture(
            evaluated.pixels(image.image_id),
            evaluated.truth.position(image.image_id),
            evaluated.truth,
            evaluated.predictions,
            evaluated.metrics.matches,
            evaluated.metrics.operating_point.score,
            masks=evaluated.results.masks is not None,
        )
        path = folder / f"{kind}_{rank:02d}_{image.image_id}.jpg"
        picture.save(path, quality=88)
        drawn.append(path)
    return drawn
