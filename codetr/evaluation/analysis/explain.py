"""Explain the metrics of boxes: errors by type, confusion matrix, calibration, and numbers by size and frequency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.data.lvis import FREQUENCIES
from codetr.evaluation.analysis.calibration import BINS, Calibration, calibrate
from codetr.evaluation.analysis.confusion import Confusion, find_confusion
from codetr.evaluation.analysis.tide import FOREGROUND_IOU, TYPES, Costs, Errors, find_costs, find_errors
from codetr.evaluation.metrics.matching import AREA_RANGES
from codetr.evaluation.metrics.metric_spec import AREAS, metric_name
from codetr.evaluation.metrics.summary import ClassMetrics, Metrics
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable

MAX_PAIRS = 100
"""Pairs of confused classes in the report and in the tracker's table; `confusion.json` has all."""


@dataclass(frozen=True)
class GroupMetrics:
    """Objects of one size, or classes of one frequency. `None` where there is nothing to measure.

    Attributes:
        name: such as "small" or "rare".
        classes: number of classes with objects in the group.
        objects: number of objects.
        AP: mean over IoU 0.50 to 0.95 and classes.
        AR: highest recall, mean over IoU 0.50 to 0.95 and classes.
        recall: share of the objects that are detected at the operating point and IoU 0.50.
        missed: number of undetected objects that no classification or localisation error covers.
    """

    name: str
    classes: int
    objects: int
    AP: float | None
    AR: float | None
    recall: float | None
    missed: int


@dataclass(frozen=True)
class Analysis:
    """What explains the metrics of boxes.

    Attributes:
        metrics: the metrics.
        errors: the type of every error.
        costs: the AP50 each type costs.
        confusion: confusion matrix at the operating point.
        calibration: scores and precision over all detections that count.
        calibration_at_threshold: the same over those at the operating point.
        sizes: small, medium and large objects.
        frequencies: rare, common and frequent classes; empty where frequencies are not known.
    """

    metrics: Metrics
    errors: Errors
    costs: Costs
    confusion: Confusion
    calibration: Calibration
    calibration_at_threshold: Calibration
    sizes: list[GroupMetrics]
    frequencies: list[GroupMetrics]


def analyse(truth: GroundTruth, predictions: PredictionTable, metrics: Metrics) -> Analysis:
    """Explain the metrics of boxes.

    Args:
        truth: ground truth.
        predictions: detections.
        metrics: the metrics of their boxes.
    """
    errors = find_errors(truth, predictions, metrics.matches)
    score = metrics.operating_point.score
    area, missed = truth.area[errors.gt_index], errors.missed(score)
    detected = errors.gt_score >= max(score, -np.finfo(float).max)

    def group(name: str, members: NDArray[np.bool_], classes: int, ap_name: str, recall: float | None) -> GroupMetrics:
        return GroupMetrics(
            name=name,
            classes=classes,
            objects=int(members.sum()),
            AP=metrics.summary[ap_name],
            AR=recall,
            recall=float(detected[members].mean()) if members.any() else None,
            missed=int(missed[members].sum()),
        )

    sizes = []
    for name, (low, high) in zip(AREAS[1:], AREA_RANGES[1:], strict=True):
        members = (area >= low) & (area <= high)
        classes = len(np.unique(errors.gt_label[members]))
        ap_name, ar_name = (metric_name(metrics.specs, kind, area=name) for kind in ("AP", "AR"))
        sizes.append(group(name, members, classes, ap_name, metrics.summary[ar_name]))
    frequencies = []
    for letter, name in FREQUENCIES.items() if metrics.federated else ():
        labels = [k for k, entry in enumerate(metrics.classes) if entry.frequency == letter]
        present = [metrics.classes[k] for k in labels if metrics.classes[k].ground_truths]
        members = np.isin(errors.gt_label, labels)
        ap_name = metric_name(metrics.specs, "AP", group=letter)
        frequencies.append(group(name, members, len(present), ap_name, _mean_recall(present)))
    return Analysis(
        metrics=metrics,
        errors=errors,
        costs=find_costs(errors),
        confusion=find_confusion(truth, predictions, errors, score),
        calibration=calibrate(metrics.matches),
        calibration_at_threshold=calibrate(metrics.matches, score),
        sizes=sizes,
        frequencies=frequencies,
    )


def errors_record(analysis: Analysis) -> dict[str, Any]:
    """Return the content of `errors.json`."""
    errors, costs = analysis.errors, analysis.costs
    score = analysis.metrics.operating_point.score
    over_all, at_threshold = errors.counts(), errors.counts(score)
    return {
        "score_threshold": score,
        "AP50": costs.AP50,
        "types": [
            {
                "type": name,
                "dAP50": costs.types[name],
                "count": int(at_threshold[:, k].sum()),
                "all": int(over_all[:, k].sum()),
            }
            for k, name in enumerate(TYPES)
        ],
        "false_positives_dAP50": costs.false_positives,
        "false_negatives_dAP50": costs.false_negatives,
        "classes": [
            {"category_id": entry.category_id, "name": entry.name, **dict(zip(TYPES, row, strict=True))}
            for entry, row in zip(analysis.metrics.classes, at_threshold.tolist(), strict=True)
        ],
    }


def confusion_record(analysis: Analysis) -> dict[str, Any]:
    """Return the content of `confusion.json`; the name of the background is None."""
    names: list[str | None] = [*(entry.name for entry in analysis.metrics.classes), None]
    confusion = analysis.confusion
    entries = zip(confusion.gt_label.tolist(), confusion.dt_label.tolist(), confusion.count.tolist(), strict=True)
    return {
        "score_threshold": confusion.score,
        "iou": FOREGROUND_IOU,
        "entries": [{"object": names[row], "detected_as": names[column], "count": n} for row, column, n in entries],
    }


def calibration_record(analysis: Analysis) -> dict[str, Any]:
    """Return the content of `calibration.json`."""
    calibration = analysis.calibration
    bins = zip(calibration.count, calibration.confidence, calibration.precision, strict=True)
    return {
        "ece": calibration.ece,
        "score_threshold": analysis.metrics.operating_point.score,
        "ece_at_threshold": analysis.calibration_at_threshold.ece,
        "bins": [
            {
                "from": k / BINS,
                "to": (k + 1) / BINS,
                "count": int(n),
                "score": float(score),
                "precision": float(precision),
            }
            for k, (n, score, precision) in enumerate(bins)
            if n
        ],
        "classes": [
            {
                "category_id": entry.category_id,
                "name": entry.name,
                "count": int(calibration.class_count[k]),
                "overconfidence": float(calibration.overconfidence[k]) if calibration.class_count[k] else None,
                "ece": float(calibration.class_ece[k]) if calibration.class_count[k] else None,
            }
            for k, entry in enumerate(analysis.metrics.classes)
        ],
    }


def confused_pairs(analysis: Analysis) -> list[tuple[str, str, int, float]]:
    """Return the most frequent pairs: class of the object, class detected, count, share of the class's objects."""
    classes = analysis.metrics.classes
    return [
        (classes[row].name, classes[column].name, count, count / classes[row].ground_truths)
        for row, column, count in analysis.confusion.pairs()[:MAX_PAIRS].tolist()
    ]


def _mean_recall(classes: list[ClassMetrics]) -> float | None:
    values = [entry.AR for entry in classes if entry.AR is not None]
    return float(np.mean(values)) if values else None
