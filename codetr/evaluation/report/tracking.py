"""Log an evaluation to the experiment tracker: metrics, tables, charts, images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from codetr.evaluation.analysis.explain import Analysis, calibration_record, confused_pairs, errors_record
from codetr.evaluation.metrics.operating_point import ImageMetrics
from codetr.evaluation.report.pictures import choose
from codetr.evaluation.report.writer import Evaluated
from codetr.tracking import BoxedImage, TrackedBox, Tracker


def track(tracker: Tracker, evaluated: Evaluated, output: Path, pictures: int) -> None:
    """Hand the numbers, what explains them, the telling images and the finished folder to the tracker."""
    tracker.summary(evaluated.measured.flat)
    classes = evaluated.classes
    tracker.table("classes", list(classes[0]), [list(row.values()) for row in classes])
    track_analysis(tracker, evaluated.analysis)
    choice = choose(evaluated.metrics, pictures)
    for kind, images in (("best", choice.best), ("worst", choice.worst)):
        if images:
            tracker.images(kind, [boxed_image(evaluated, entry) for entry in images])
    tracker.produces(output, "evaluation")


def track_analysis(tracker: Tracker, analysis: Analysis) -> None:
    """Mistakes, confusion and calibration, as tables and charts."""
    errors, calibration = errors_record(analysis), calibration_record(analysis)
    costs = {f"dAP50/{row['type']}": row["dAP50"] for row in errors["types"]}
    tracker.summary({**costs, "ece": calibration["ece"], "ece_at_threshold": calibration["ece_at_threshold"]})
    tables = {
        "mistakes/types": errors["types"],
        "mistakes/classes": errors["classes"],
        "calibration/scores": calibration["bins"],
        "calibration/classes": calibration["classes"],
    }
    for key, rows in tables.items():
        if rows:
            tracker.table(key, list(rows[0]), [list(row.values()) for row in rows])
    pairs = confused_pairs(analysis)
    tracker.table("confusion", ["object", "detected_as", "count", "share"], [list(pair) for pair in pairs])
    costs_by_type = [[row["type"], row["dAP50"]] for row in errors["types"]]
    tracker.chart("mistakes/cost", "bar", ("type", "dAP50"), costs_by_type, "What mistakes cost in AP50")
    bins = [[row["score"], row["right"]] for row in calibration["bins"]]
    tracker.chart("calibration/reliability", "line", ("score", "right"), bins, "Share that is right, by score")


def boxed_image(evaluated: Evaluated, image: ImageMetrics) -> BoxedImage:
    """An image with its objects and the detections at the operating point, as layers of a viewer."""
    labels = {category_id: label for label, category_id in enumerate(evaluated.split.category_ids)}
    truth, detections = evaluated.of_image(image.image_id)

    def box(entry: dict[str, Any]) -> TrackedBox:
        x, y, width, height = entry["bbox"]
        return TrackedBox((x, y, x + width, y + height), labels[entry["category_id"]], entry.get("score"))

    threshold = evaluated.metrics.operating_point.score
    return BoxedImage(
        evaluated.pixels(image.image_id),
        evaluated.split.names,
        {
            "truth": [box(entry) for entry in truth["annotations"]],
            "predictions": [box(entry) for entry in detections if entry["score"] >= threshold],
        },
        caption=f"{image.file_name}: {image.tp} right, {image.fp} wrong, {image.fn} missed",
    )
