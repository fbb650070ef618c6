"""Metrics by size and frequency, and the written records: they must agree with the metrics."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from codetr.evaluation.analysis.explain import (
    Analysis,
    analyse,
    calibration_record,
    confused_pairs,
    confusion_record,
    errors_record,
)
from codetr.evaluation.evaluate import evaluate_results
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable
from tests.support.evaluation.evaluation_sets import detection, random_set, truth


def analysis_of(ground_truth: dict[str, Any], results: list[dict[str, Any]]) -> Analysis:
    objects = GroundTruth.of_coco(ground_truth)
    predictions = PredictionTable.of_coco(results, objects)
    return analyse(objects, predictions, evaluate_results(objects, predictions))


def federated(classes: int) -> dict[str, Any]:
    """Every class has one large object in image 1; by turns rare, common and frequent."""
    ground_truth = truth([(1, k, [0, 0, 100, 100]) for k in range(1, classes + 1)], classes=classes)
    for image in ground_truth["images"]:
        image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    for k, category in enumerate(ground_truth["categories"]):
        category["frequency"] = "rcf"[k % 3]
    return ground_truth


def test_the_records_agree_with_the_metrics() -> None:
    """Two files of one evaluation must not contradict each other."""
    analysis = analysis_of(*random_set(0))
    errors, metrics = errors_record(analysis), analysis.metrics
    assert errors["AP50"] == pytest.approx(metrics.summary["AP50"])
    wrong = sum(entry.fp for entry in metrics.images)
    assert sum(row["count"] for row in errors["types"][:-1]) == wrong
    assert sum(row["background"] for row in errors["classes"]) == errors["types"][4]["count"]
    entries = confusion_record(analysis)["entries"]
    right = sum(row["count"] for row in entries if row["object"] == row["detected_as"])
    assert right == sum(entry.tp for entry in metrics.images)
    assert sum(row["count"] for row in entries if row["detected_as"] is not None) == right + wrong
    calibration = calibration_record(analysis)
    counted = int((metrics.matches.tp[0] | metrics.matches.fp[0]).sum())
    assert sum(row["count"] for row in calibration["bins"]) == counted
    assert sum(row["count"] for row in calibration["classes"]) == counted
    for record in (errors, calibration, confusion_record(analysis)):
        json.dumps(record, allow_nan=False)


def test_sizes_and_classes_add_up() -> None:
    """APs of a class is over its small objects alone, and the mean over classes is the number of the summary."""
    analysis = analysis_of(*random_set(1))
    metrics = analysis.metrics
    for group, letter in zip(analysis.sizes, "sml", strict=True):
        values = [getattr(entry, f"AP{letter}") for entry in metrics.classes]
        assert np.mean([value for value in values if value is not None]) == pytest.approx(group.AP)
        assert sum(getattr(entry, group.name) for entry in metrics.classes) == group.objects
    assert sum(group.objects for group in analysis.sizes) == metrics.flat["ground_truths"]
    found = sum((group.recall or 0) * group.objects for group in analysis.sizes)
    assert found == pytest.approx(sum(entry.tp for entry in metrics.images))


def test_frequencies_are_those_of_the_classes() -> None:
    results = [detection(1, k, [0, 0, 100, 100], 0.9) for k in (1, 2)]
    rare, common, frequent = analysis_of(federated(7), results).frequencies
    assert (rare.name, rare.classes, rare.objects, rare.recall) == ("rare", 3, 3, pytest.approx(1 / 3))
    assert (common.name, common.classes, common.AP) == ("common", 2, pytest.approx(0.5))
    # Objects that something of another class lies on are covered by that mistake, had it been made; nothing lies here.
    assert (frequent.name, frequent.objects, frequent.recall, frequent.missed) == ("frequent", 2, 0.0, 2)
    assert analysis_of(truth([(1, 1, [0, 0, 9, 9])]), []).frequencies == []


def test_confused_pairs_are_named() -> None:
    pairs = confused_pairs(analysis_of(truth([(1, 1, [0, 0, 9, 9])]), [detection(1, 2, [0, 0, 9, 9], 0.9)]))
    assert pairs == [("class 1", "class 2", 1, 1.0)]
