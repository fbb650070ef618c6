"""All matches of all detections, compared with the reference programs."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools.cocoeval import COCOeval

from codetr.data.segmentation import encode_mask
from codetr.evaluation.metrics.coco import RULES, evaluate_coco, to_arrays
from codetr.evaluation.metrics.lvis import evaluate_lvis
from codetr.evaluation.metrics.matching import MAX_PAIRS, Matching, match
from codetr.evaluation.metrics.metric_spec import COCO_METRICS
from codetr.evaluation.metrics.summary import Metrics
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable
from tests.support.evaluation.drawn_predictions import Pair, pairs
from tests.support.evaluation.evaluation_sets import random_set
from tests.support.evaluation.reference_metrics import lvis_run, plain_lvis, pycocotools_run

EXAMPLES = settings(max_examples=80, deadline=None)


def assert_equal(metrics: Metrics, run: COCOeval) -> None:
    """Every number and the outcome of every detection, to the last bit."""
    assert [metrics.summary[name] for name in COCO_METRICS] == [None if v == -1 else v for v in run.stats.tolist()]
    expected = run.eval["precision"][:, :, :, 0, 2]
    np.testing.assert_array_equal(np.nan_to_num(metrics.precision, nan=-1.0), expected)
    images, ranges = len(run.params.imgIds), len(run.params.areaRng)
    whole = [entry for n, entry in enumerate(run.evalImgs) if n // images % ranges == 0 and entry is not None]
    matches = metrics.matches
    assert matches.score.tolist() == [score for entry in whole for score in entry["dtScores"]]
    matched, ignored = (
        np.concatenate([entry[name] > 0 for entry in whole], axis=1) for name in ("dtMatches", "dtIgnore")
    )
    np.testing.assert_array_equal(matches.tp, matched & ~ignored)
    np.testing.assert_array_equal(matches.fp, ~matched & ~ignored)
    np.testing.assert_array_equal(matches.dt_matches >= 0, matched[0])
    objects = [entry["gtIgnore"] for entry in whole]
    assert matches.gt_group_count.sum() == sum(np.count_nonzero(np.asarray(entry) == 0) for entry in objects)


@EXAMPLES
@given(pairs())
def test_boxes_are_matched_as_by_pycocotools(pair: Pair) -> None:
    """Ties between objects, detections and images, crowds, and areas on the edge of a size range."""
    assert_equal(evaluate_coco(*pair), pycocotools_run(*pair))


@EXAMPLES
@given(pairs(masks=True))
def test_masks_are_matched_as_by_pycocotools(pair: Pair) -> None:
    assert_equal(evaluate_coco(*pair, "segm"), pycocotools_run(*pair, "segm"))


@pytest.mark.parametrize("seed", range(4))
def test_many_detections_are_matched_as_by_pycocotools(seed: int) -> None:
    """More than a hundred detections of one class in one image, which small examples do not have."""
    pair = random_set(seed)
    assert_equal(evaluate_coco(*pair), pycocotools_run(*pair))


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_number_of_pairs_at_once_does_not_change_matches(kind: Literal["bbox", "segm"]) -> None:
    """Comparing few pairs at once bounds the memory; which pairs are compared together must not change the result."""
    ground_truth, predictions = random_set(1)
    if kind == "segm":
        for entry in (*ground_truth["annotations"], *predictions):
            entry["segmentation"] = rectangle(entry["bbox"])
    truth, table = to_arrays(ground_truth, predictions, kind)
    at_once, few = (match(truth, table, RULES, kind, max_pairs=pairs) for pairs in (MAX_PAIRS, 3))
    for field in dataclasses.fields(Matching):
        np.testing.assert_array_equal(getattr(few, field.name), getattr(at_once, field.name))


def rectangle(box: list[float]) -> dict[str, Any]:
    x, y, width, height = (int(value) for value in box)
    mask = np.zeros((200, 300), bool)
    mask[y : y + height, x : x + width] = True
    return encode_mask(mask)


def test_arrays_are_measured_like_results() -> None:
    """A caller with detections in arrays must not need to write dictionaries first."""
    ground_truth, predictions = random_set(2)
    found = PredictionTable.of_coco(predictions, GroundTruth.of_coco(ground_truth))
    assert evaluate_coco(ground_truth, found).flat == evaluate_coco(ground_truth, predictions).flat


@EXAMPLES
@given(pairs(federated=True))
def test_boxes_are_matched_by_the_rules_of_lvis(pair: Pair) -> None:
    assert evaluate_lvis(*pair).summary == pytest.approx(plain_lvis(*pair), abs=1e-12)


@EXAMPLES
@given(pairs(federated=True))
def test_the_limit_of_lvis_is_for_an_image(pair: Pair) -> None:
    """Two detections of an image, whatever their classes, and before unverified ones are dropped."""
    assert evaluate_lvis(*pair, max_dets=2).summary == pytest.approx(plain_lvis(*pair, most=2), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(pairs(federated=True, masks=True))
def test_masks_are_matched_by_the_rules_of_lvis(pair: Pair) -> None:
    assert evaluate_lvis(*pair, "segm").summary == pytest.approx(plain_lvis(*pair, "segm"), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(pairs(federated=True))
def test_the_package_lvis_says_the_same(pair: Pair) -> None:
    """To the last bit."""
    assert evaluate_lvis(*pair).summary == lvis_run(*pair)
