"""Metrics of weighted sets of images, compared with metrics of sets in which images are repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetr.evaluation.comparison.match_table import MatchTable
from codetr.evaluation.comparison.resampled_metrics import Weights, metric_table, resampled_metrics
from codetr.evaluation.evaluate import evaluate_results
from codetr.evaluation.metrics.matching import IouType
from codetr.evaluation.metrics.summary import Metrics
from codetr.evaluation.tables.ground_truth import GroundTruth
from tests.support.evaluation.drawn_predictions import Pair, pairs
from tests.support.evaluation.evaluation_sets import random_set, sides


def measured(ground_truth: dict[str, Any], predictions: list[dict[str, Any]], iou_type: IouType = "bbox") -> Metrics:
    return evaluate_results(*sides(ground_truth, predictions), iou_type)


def table_of(ground_truth: dict[str, Any], metrics: Metrics) -> MatchTable:
    return MatchTable.of(metrics.matching, GroundTruth.of_coco(ground_truth))


def assert_equal(table: MatchTable, weights: Weights, expected: list[Metrics]) -> None:
    """Assert that every metric of every set, and the AP of every class, is that of the evaluation."""
    values = resampled_metrics(table, weights)
    for column, metrics in enumerate(expected):
        assert list(metrics.summary) == list(metric_table(table)) == list(values.summary)
        for name, value in metrics.summary.items():
            assert values.summary[name][column] == pytest.approx(
                np.nan if value is None else value, abs=1e-12, nan_ok=True
            ), name
        of_classes = [np.nan if entry.AP is None else entry.AP for entry in metrics.classes]
        np.testing.assert_allclose(values.classes[:, column], of_classes, rtol=0, atol=1e-12)


def ranked(ground_truth: dict[str, Any], predictions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same detections in the same ranking with scores that all differ, so that copies of one stay side by side."""
    order = sorted(range(len(predictions)), key=lambda n: (-predictions[n]["score"], predictions[n]["image_id"], n))
    scores = {n: 1 - rank / (len(order) + 1) for rank, n in enumerate(order)}
    return [{**entry, "score": scores[n]} for n, entry in enumerate(predictions)]


def replicated(ground_truth: dict[str, Any], predictions: list[dict[str, Any]], weights: list[int]) -> Pair:
    """Return the set with every image as often as its weight says, each with a new id."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for entry, weight in zip(sorted(ground_truth["images"], key=lambda entry: entry["id"]), weights, strict=True):
        for _ in range(weight):
            number = len(images) + 1
            images.append({**entry, "id": number})
            for things, copies in ((ground_truth["annotations"], annotations), (predictions, found)):
                copies += [{**thing, "image_id": number} for thing in things if thing["image_id"] == entry["id"]]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    return {**ground_truth, "images": images, "annotations": annotations}, found


def federate(ground_truth: dict[str, Any], seed: int) -> None:
    """Make it a set of LVIS's kind: verified classes, frequencies, objects to be ignored."""
    draw = np.random.default_rng(seed)
    for image in ground_truth["images"]:
        image["neg_category_ids"] = draw.choice(4, 2, replace=False).tolist()
        image["not_exhaustive_category_ids"] = draw.choice(4, 1).tolist()
    for category, frequency in zip(ground_truth["categories"], "rcfc", strict=True):
        category["frequency"] = frequency
    for annotation in ground_truth["annotations"]:
        annotation["ignore"] = annotation.pop("iscrowd")


@pytest.mark.parametrize("federated", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_weights_give_the_metrics_of_repeated_images(seed: int, federated: bool) -> None:
    """Crowds, ignored objects, limits of detections: a resample's AP must be the AP of the resampled set."""
    ground_truth, predictions = random_set(seed)
    if federated:
        federate(ground_truth, seed)
        # More than 300 detections in one image, so that the limit over all classes matters.
        draw = np.random.default_rng(seed)
        extra = [{**entry, "image_id": 2, "score": float(draw.random())} for entry in predictions]
        predictions = [*predictions, *extra, *extra]
    predictions = ranked(ground_truth, predictions)
    weights = np.random.default_rng(seed).integers(0, 4, (12, 4)).astype(np.int32)
    weights[:, 0] = 1
    weights[:, 1] = np.arange(12) == 3  # one image alone
    expected = [measured(*replicated(ground_truth, predictions, column)) for column in weights.T.tolist()]
    assert_equal(table_of(ground_truth, measured(ground_truth, predictions)), weights, expected)


@pytest.mark.parametrize("federated", [False, True])
@given(data=st.data())
def test_weights_give_the_metrics_of_drawn_sets(federated: bool, data: st.DataObject) -> None:
    """Ties, sizes on the edge of two ranges, objects that do not count: whatever small set there is."""
    ground_truth, predictions = data.draw(pairs(federated=federated))
    predictions = ranked(ground_truth, predictions)
    column = data.draw(st.lists(st.integers(0, 3), min_size=2, max_size=2))
    weights = np.array([column, [1, 1]], np.int32).T
    metrics = measured(ground_truth, predictions)
    copies = replicated(ground_truth, predictions, column)
    expected = [measured(*copies) if any(column) else None, metrics]
    table = table_of(ground_truth, metrics)
    if expected[0] is None:
        assert all(np.isnan(value[0]) for value in resampled_metrics(table, weights).summary.values())
        weights, expected = weights[:, 1:], expected[1:]
    assert_equal(table, weights, [entry for entry in expected if entry is not None])


@pytest.mark.parametrize("federated", [False, True])
@given(data=st.data())
def test_weights_of_one_give_the_summary_with_ties(federated: bool, data: st.DataObject) -> None:
    """Detections of equal scores keep their ranking, masks too."""
    ground_truth, predictions = data.draw(pairs(federated=federated, masks=True))
    metrics = measured(ground_truth, predictions, "segm")
    assert_equal(table_of(ground_truth, metrics), np.ones((2, 1), np.int32), [metrics])


def test_blocks_of_sets_do_not_change_numbers() -> None:
    """Large sets are computed some columns at a time; a column must not depend on its neighbours."""
    ground_truth, predictions = random_set(1)
    table = table_of(ground_truth, measured(ground_truth, predictions))
    weights = np.random.default_rng(0).integers(0, 3, (12, 40)).astype(np.int32)
    whole = resampled_metrics(table, weights)
    parts = resampled_metrics(table, weights, max_values=1)
    for name in whole.summary:
        np.testing.assert_array_equal(whole.summary[name], parts.summary[name])
