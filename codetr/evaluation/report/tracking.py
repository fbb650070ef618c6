"""Log an evaluation to the experiment tracker: metrics, tables, charts, images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.analysis.explain import Analysis, calibration_record, confused_pairs, errors_record
from codetr.evaluation.metrics.operating_point import ImageMetrics
from codetr.evaluation.report.pictures import choose
from codetr.evaluation.report.writer import Evaluated
from codetr.tracking import BoxedImage, TrackedBox, Tracker


def log_evaluation(tracker: Tracker, evaluated: Evaluated, output: Path, pictures: int) -> None:
    """Log the metrics, their analysis, the best and worst images, and the finished folder."""
    tracker.summary(evaluated.results.flat)
    classes = evaluated.classes
    tracker.table("classes", list(classes[0]), [list(row.values()) for row in classes])
    log_analysis(tracker, evaluated.analysis)
    choice = choose(evaluated.metrics, pictures)
    for kind, images in (("best", choice.best), ("worst", choice.worst)):
        if images:
            tracker.images(kind, [boxed_image(evaluated, entry) for entry in images])
    tracker.produces(output, "evaluation")


def log_analysis(tracker: Tracker, analysis: Analysis) -> None:
    """Log errors, confusion and calibration as tables and charts."""
    errors, calibration = errors_record(analysis), calibration_record(analysis)
    costs = {f"dAP50/{row['type']}": row["dAP50"] for row in errors["types"]}
    tracker.summary({**costs, "ece": calibration["ece"], "ece_at_threshold": calibration["ece_at_threshold"]})
    tables = {
        "errors/types": errors["types"],
        "errors/classes": errors["classes"],
        "calibration/scores": calibration["bins"],
        "calibration/classes": calibration["classes"],
    }
    for key, rows in tables.items():
        if rows:
            tracker.table(key, list(rows[0]), [list(row.values()) for row in rows])
    pairs = confused_pairs(analysis)
    tracker.table("confusion", ["object", "detected_as", "count", "share"], [list(pair) for pair in pairs])
    costs_by_type = [[row["type"], row["dAP50"]] for row in errors["types"]]
    tracker.chart("errors/cost", "bar", ("type", "dAP50"), costs_by_type, "Error breakdown (TIDE, ΔAP50)")
    bins = [[row["score"], row["precision"]] for row in calibration["bins"]]
    tracker.chart("calibration/reliability", "line", ("score", "precision"), bins, "Calibration: precision by score")


def boxed_image(evaluated: Evaluated, image: ImageMetrics) -> BoxedImage:
    """Return an image with its objects and the detections at the operating point, as layers of a viewer."""
    truth, predictions = evaluated.truth, evaluated.predictions
    position, threshold = truth.position(image.image_id), evaluated.metrics.operating_point.score

    def box(box_xywh: NDArray[np.float64], label: int, score: float | None = None) -> TrackedBox:
        x, y, width, height = box_xywh.tolist()
        return TrackedBox((x, y, x + width, y + height), label, score)

    objects = np.flatnonzero(truth.image == position).tolist()
    rows = np.flatnonzero((predictions.image == position) & (predictions.score >= threshold)).tolist()
    boxes_xywh = predictions.boxes()
    return BoxedImage(
        evaluated.pixels(image.image_id),
        truth.names,
        {
            "truth": [box(truth.boxes_xywh[k], int(truth.label[k])) for k in objects],
            "predictions": [box(boxes_xywh[k], int(predictions.label[k]), float(predictions.score[k])) for k in rows],
        },
        caption=f"{image.file_name}: {image.tp} true positives, {image.fp} false positives, {image.fn} missed",
    )
