"""Which detection is a true positive: by hand, with crowd regions, ignored objects and unverified classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from codetr.evaluation.evaluate import evaluate_results
from codetr.evaluation.metrics.true_positives import Matches
from tests.support.evaluation.evaluation_sets import detection, sides, truth

BOX, FAR = [10.0, 10.0, 50.0, 50.0], [150.0, 100.0, 50.0, 50.0]


def matches_of(ground_truth: dict[str, Any], results: list[dict[str, Any]]) -> Matches:
    return evaluate_results(*sides(ground_truth, results)).matches


def by_result(matches: Matches, values: np.ndarray, results: list[dict[str, Any]]) -> list[Any]:
    """Values of detections in the order of the results; None for those that take no part."""
    found = dict(zip(matches.dt_index.tolist(), values.tolist(), strict=True))
    return [found.get(k) for k in range(len(results))]


def test_matches_name_the_object_of_a_detection_and_the_detection_of_an_object() -> None:
    """Pictures draw false positives and missed objects dashed; swapped indices would mark others."""
    ground_truth = truth([(1, 2, [100, 100, 40, 40]), (1, 1, [0, 0, 50, 50])])
    results = [
        detection(1, 2, [0, 0, 50, 50], 0.9),  # wrong class
        detection(1, 1, [2, 0, 50, 50], 0.8),  # true positive
        detection(1, 1, [0, 2, 50, 50], 0.7),  # a second detection of the same object
    ]
    matches = matches_of(ground_truth, results)
    assert by_result(matches, matches.dt_matches, results) == [-1, 1, -1]
    assert by_result(matches, matches.fp[0], results) == [True, False, True]
    assert matches.gt_matches[0] == -1
    assert matches.dt_index[matches.gt_matches[1]] == 1
    assert matches.gt_scores.tolist() == [-np.inf, 0.8]
    assert matches.gt_ignore.tolist() == [False, False]


def test_detections_in_a_crowd_region_are_ignored_and_the_best_one_matches_it() -> None:
    """Neither true nor false positives: a crowd region is not one object."""
    ground_truth = truth([(1, 1, BOX)], iscrowd=1)
    results = [detection(1, 1, [12, 12, 20, 20], 0.4), detection(1, 1, [15, 15, 20, 20], 0.9)]
    matches = matches_of(ground_truth, results)
    assert matches.gt_ignore.tolist() == [True]
    assert by_result(matches, matches.dt_matches, results) == [0, 0]
    assert not matches.tp.any()
    assert not matches.fp.any()
    assert matches.gt_scores.tolist() == [0.9]


def test_detections_of_unverified_classes_take_no_part_in_a_federated_dataset() -> None:
    """Drawn as false positives, they would look like errors that no metric counts."""
    ground_truth = truth([(1, 1, BOX), (2, 1, BOX)], classes=3)
    for image, negative in zip(ground_truth["images"], ([3], []), strict=True):
        image |= {"neg_category_ids": negative, "not_exhaustive_category_ids": []}
    ground_truth["annotations"][1]["ignore"] = 1
    results = [
        detection(1, 1, BOX, 0.5),
        detection(1, 2, FAR, 0.9),  # not verified
        detection(1, 3, FAR, 0.9),  # verified to be absent
        detection(1, 1, FAR, 0.4),
        detection(2, 1, BOX, 0.3),  # matches an ignored object
    ]
    matches = matches_of(ground_truth, results)
    assert by_result(matches, matches.tp[0], results) == [True, None, False, False, False]
    assert by_result(matches, matches.fp[0], results) == [False, None, True, True, False]
    assert matches.gt_ignore.tolist() == [False, True]


def test_objects_without_an_area_are_ignored_by_the_rules_of_lvis() -> None:
    """They take no part in the metrics, so a picture must not draw them as missed."""
    ground_truth = truth([(1, 1, BOX), (1, 1, FAR)], area=0.0)
    for image in ground_truth["images"]:
        image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    ground_truth["annotations"][0]["area"] = 2500.0
    assert matches_of(ground_truth, []).gt_ignore.tolist() == [False, True]
