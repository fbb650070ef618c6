"""The confusion matrix, by hand and compared with the counts of the metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from codetr.evaluation.analysis.confusion import Confusion, find_confusion
from codetr.evaluation.analysis.tide import find_errors
from codetr.evaluation.metrics.coco import RULES, evaluate_coco
from codetr.evaluation.metrics.matching import match
from codetr.evaluation.metrics.true_positives import Matches
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable
from tests.support.evaluation.evaluation_sets import detection, random_set, truth

BOX = [0.0, 0.0, 100.0, 100.0]
NEAR = [10.0, 0.0, 100.0, 100.0]


def confusion_of(ground_truth: dict[str, Any], results: list[dict[str, Any]], score: float) -> Confusion:
    objects = GroundTruth.of_coco(ground_truth)
    predictions = PredictionTable.of_coco(results, objects)
    matches = Matches.of(match(objects, predictions, RULES, "bbox"), objects)
    return find_confusion(objects, predictions, find_errors(objects, predictions, matches), score)


def test_correct_confused_missed_and_background() -> None:
    """Rows are objects, columns detections, the last of both the background."""
    objects = truth([(1, 1, BOX), (1, 2, [150.0, 50.0, 80.0, 80.0]), (2, 1, BOX), (2, 2, [150.0, 50.0, 80.0, 80.0])])
    results = [
        detection(1, 1, BOX, 0.9),
        detection(1, 1, [150.0, 50.0, 80.0, 80.0], 0.8),  # an object of class 2
        detection(2, 2, [120.0, 150.0, 30.0, 30.0], 0.7),  # nothing there
        detection(2, 1, BOX, 0.2),  # below the score
    ]
    assert confusion_of(objects, results, 0.5).matrix(np.arange(2)).tolist() == [[1, 0, 1], [1, 0, 1], [0, 1, 0]]
    assert confusion_of(objects, results, 0.1).matrix(np.arange(2)).tolist() == [[2, 0, 0], [1, 0, 1], [0, 1, 0]]


def test_a_true_positive_keeps_its_object() -> None:
    """The diagonal must equal the true positives, even if another class is detected with a higher score."""
    results = [detection(1, 2, BOX, 0.9), detection(1, 1, NEAR, 0.6)]
    assert confusion_of(truth([(1, 1, BOX)]), results, 0.5).matrix(np.arange(2)).tolist() == [
        [1, 0, 0],
        [0, 0, 0],
        [0, 1, 0],
    ]


def test_a_detection_and_an_object_are_counted_once() -> None:
    """Two detections on two objects of other classes: from the highest score down, each the nearest that is free."""
    objects = truth([(1, 1, BOX), (1, 2, NEAR)], classes=4)
    results = [detection(1, 3, BOX, 0.9), detection(1, 4, BOX, 0.8), detection(1, 4, NEAR, 0.7)]
    matrix = confusion_of(objects, results, 0.5).matrix(np.arange(4))
    assert matrix[0, 2] == matrix[1, 3] == matrix[4, 3] == 1
    assert matrix.sum() == 3


@pytest.mark.parametrize("seed", range(3))
def test_sums_are_the_counts_of_the_metrics(seed: int) -> None:
    ground_truth, results = random_set(seed)
    metrics = evaluate_coco(ground_truth, results)
    point = metrics.operating_point.score
    matrix = confusion_of(ground_truth, results, point).matrix(np.arange(4))
    assert matrix.sum(axis=1)[:-1].tolist() == [entry.ground_truths for entry in metrics.classes]
    assert matrix.trace() == sum(entry.tp for entry in metrics.images)
    assert matrix[:, :-1].sum() == sum(entry.tp + entry.fp for entry in metrics.images)


def test_the_most_confused_of_many_classes() -> None:
    """A matrix of 1,203 classes cannot be read; that of the confused ones can."""
    confusion = Confusion(
        0.5,
        1203,
        gt_label=np.array([3, 3, 700, 900, 1203]),
        dt_label=np.array([3, 8, 8, 1203, 5]),
        count=np.array([50, 2, 4, 99, 99]),
    )
    assert confusion.pairs().tolist() == [[700, 8, 4], [3, 8, 2]]
    assert confusion.most_confused(40).tolist() == [3, 8, 700]
    assert confusion.most_confused(2).tolist() == [8, 700]
