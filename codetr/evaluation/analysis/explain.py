"""Why a detector is as good as it is: its mistakes by type, what it mixes up, what its scores mean, by size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from codetr.data.lvis import FREQUENCIES
from codetr.evaluation.analysis.calibration import BINS, Calibration, calibrate
from codetr.evaluation.analysis.confusion import Confusion, find_confusion
from codetr.evaluation.analysis.tide import FOREGROUND_IOU, TYPES, Costs, Errors, find_costs, find_errors
from codetr.evaluation.metrics.matching import AREA_RANGES
from codetr.evaluation.metrics.summary import SIZE_NAMES, SIZES, ClassMetrics, Metrics
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import Predictions

MOST_PAIRS = 100
"""Pairs of confused classes in the report and in the tracker's table; `confusion.json` has all."""


@dataclass(frozen=True)
class Group:
    """Objects of one size, or classes of one frequency. `None` where there is nothing to measure.

    Attributes:
        name: "small", "rare" and the like.
        classes: how many classes have objects in it.
        objects: objects to be found.
        AP: mean over IoU 0.50 to 0.95 and classes.
        AR: highest recall, likewise.
        found: share of the objects that is found at the operating point and IoU 0.50.
        missed: how many of the others no mistake of class or place covers.
    """

    name: str
    classes: int
    objects: int
    AP: float | None
    AR: float | None
    found: float | None
    missed: int


@dataclass(frozen=True)
class Analysis:
    """What explains the metrics of boxes.

    Attributes:
        metrics: what is explained.
        errors: the type of every mistake.
        costs: what each type costs.
        confusion: which class is taken for which, at the operating point.
        calibration: scores beside outcomes, over all detections that count.
        used: the same over those at the operating point.
        sizes: small, medium and large objects.
        frequencies: rare, common and frequent classes; empty where frequencies are not known.
    """

    metrics: Metrics
    errors: Errors
    costs: Costs
    confusion: Confusion
    calibration: Calibration
    used: Calibration
    sizes: list[Group]
    frequencies: list[Group]


def analyse(truth: GroundTruth, predictions: Predictions, metrics: Metrics) -> Analysis:
    """Explain what was measured.

    Args:
        truth: ground truth.
        predictions: what was measured against it.
        metrics: the result, of boxes.
    """
    errors = find_errors(truth, predictions, metrics.matching)
    score = metrics.operating_point.score
    area, missed = truth.area[errors.sought], errors.missed(score)
    found = errors.found_at >= max(score, -np.finfo(float).max)
    sizes = []
    for name, (letter, size) in zip(SIZE_NAMES, SIZES.items(), strict=True):
        inside = (area >= AREA_RANGES[size, 0]) & (area <= AREA_RANGES[size, 1])
        recall = metrics.recall_name.replace("AR", f"AR{letter}") if metrics.federated else f"AR{letter}"
        sizes.append(
            Group(
                name=name,
                classes=len(np.unique(errors.object_label[inside])),
                objects=int(inside.sum()),
                AP=metrics.summary[f"AP{letter}"],
                AR=metrics.summary[recall],
                found=float(found[inside].mean()) if inside.any() else None,
                missed=int(missed[inside].sum()),
            )
        )
    frequencies = []
    for letter, name in FREQUENCIES.items() if metrics.federated else ():
        own = [k for k, entry in enumerate(metrics.classes) if entry.frequency == letter]
        present = [metrics.classes[k] for k in own if metrics.classes[k].ground_truths]
        inside = np.isin(errors.object_label, own)
        frequencies.append(
            Group(
                name=name,
                classes=len(present),
                objects=int(inside.sum()),
                AP=metrics.summary[f"AP{letter}"],
                AR=_mean(present, "AR"),
                found=float(found[inside].mean()) if inside.any() else None,
                missed=int(missed[inside].sum()),
            )
        )
    return Analysis(
        metrics=metrics,
        errors=errors,
        costs=find_costs(errors),
        confusion=find_confusion(truth, predictions, metrics.matching, errors, score),
        calibration=calibrate(metrics.matches),
        used=calibrate(metrics.matches, score),
        sizes=sizes,
        frequencies=frequencies,
    )


def errors_record(analysis: Analysis) -> dict[str, Any]:
    """The content of `errors.json`."""
    errors, costs = analysis.errors, analysis.costs
    score = analysis.metrics.operating_point.score
    everywhere, used = errors.counts(), errors.counts(score)
    return {
        "score_threshold": score,
        "AP50": costs.AP50,
        "types": [
            {
                "type": name,
                "dAP50": costs.types[name],
                "count": int(used[:, k].sum()),
                "all": int(everywhere[:, k].sum()),
            }
            for k, name in enumerate(TYPES)
        ],
        "false_positives_dAP50": costs.false_positives,
        "false_negatives_dAP50": costs.false_negatives,
        "classes": [
            {"category_id": entry.category_id, "name": entry.name, **dict(zip(TYPES, row, strict=True))}
            for entry, row in zip(analysis.metrics.classes, used.tolist(), strict=True)
        ],
    }


def confusion_record(analysis: Analysis) -> dict[str, Any]:
    """The content of `confusion.json`; the background's name is None."""
    names: list[str | None] = [*(entry.name for entry in analysis.metrics.classes), None]
    found = analysis.confusion
    entries = zip(found.truth.tolist(), found.found.tolist(), found.count.tolist(), strict=True)
    return {
        "score_threshold": found.score,
        "iou": FOREGROUND_IOU,
        "entries": [{"object": names[row], "detected_as": names[column], "count": n} for row, column, n in entries],
    }


def calibration_record(analysis: Analysis) -> dict[str, Any]:
    """The content of `calibration.json`."""
    whole, used = analysis.calibration, analysis.used
    return {
        "ece": whole.ece,
        "score_threshold": analysis.metrics.operating_point.score,
        "ece_at_threshold": used.ece,
        "bins": [
            {"from": k / BINS, "to": (k + 1) / BINS, "count": int(n), "score": float(score), "right": float(right)}
            for k, (n, score, right) in enumerate(zip(whole.count, whole.confidence, whole.right, strict=True))
            if n
        ],
        "classes": [
            {
                "category_id": entry.category_id,
                "name": entry.name,
                "count": int(whole.class_count[k]),
                "gap": float(whole.class_gap[k]) if whole.class_count[k] else None,
                "ece": float(whole.class_ece[k]) if whole.class_count[k] else None,
            }
            for k, entry in enumerate(analysis.metrics.classes)
        ],
    }


def confused_pairs(analysis: Analysis) -> list[tuple[str, str, int, float]]:
    """The most frequent pairs: object's class, what it is taken for, how often, and the share of its objects."""
    classes = analysis.metrics.classes
    return [
        (classes[row].name, classes[column].name, count, count / classes[row].ground_truths)
        for row, column, count in analysis.confusion.pairs()[:MOST_PAIRS].tolist()
    ]


def _mean(classes: list[ClassMetrics], name: str) -> float | None:
    values = [value for entry in classes if (value := getattr(entry, name)) is not None]
    return float(np.mean(values)) if values else None
