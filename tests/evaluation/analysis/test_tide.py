"""Types of errors and their costs: by hand, and compared with pycocotools on repaired detections."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from codetr.evaluation.analysis.tide import (
    CLASSIFICATION,
    LOCALISATION,
    MISSED,
    TYPES,
    Costs,
    Errors,
    find_costs,
    find_errors,
)
from codetr.evaluation.metrics.coco import RULES, evaluate_coco
from codetr.evaluation.metrics.matching import Rules, match
from codetr.evaluation.metrics.true_positives import Matches
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable
from tests.support.evaluation.drawn_predictions import Pair, pairs
from tests.support.evaluation.evaluation_sets import detection, random_set, truth
from tests.support.evaluation.reference_metrics import pycocotools_run

BOX = [0.0, 0.0, 100.0, 100.0]


def errors_of(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], rules: Rules = RULES
) -> tuple[Errors, Costs, list[str | None]]:
    """Return errors, costs, and the type of every result (None for true positives and ignored ones)."""
    objects = GroundTruth.of_coco(ground_truth)
    predictions = PredictionTable.of_coco(results, objects)
    errors = find_errors(objects, predictions, Matches.of(match(objects, predictions, rules, "bbox"), objects))
    names: list[str | None] = [None] * len(results)
    for row, kind in zip(errors.matches.dt_index.tolist(), errors.kind.tolist(), strict=True):
        names[row] = TYPES[kind] if kind >= 0 else None
    return errors, find_costs(errors), names


def overlapping(share: float) -> list[float]:
    """Return a box whose IoU with `BOX` is `share`: as large, moved to the right."""
    return [100 * (1 - share) / (1 + share), 0.0, 100.0, 100.0]


@pytest.mark.parametrize(
    ("category", "box", "expected"),
    [
        (1, overlapping(0.8), None),
        (2, overlapping(0.8), "classification"),
        (2, [0.0, 0.0, 100.0, 50.0], "classification"),  # exactly 0.5
        (1, overlapping(0.49), "localisation"),
        (1, [0.0, 0.0, 100.0, 10.0], "localisation"),  # exactly 0.1
        (1, overlapping(0.05), "background"),
        (2, overlapping(0.49), "both"),
        (2, [0.0, 0.0, 100.0, 10.0], "background"),
        (2, overlapping(0.05), "background"),
        (1, [200.0, 0.0, 50.0, 50.0], "background"),
    ],
)
def test_one_detection_and_one_object(category: int, box: list[float], expected: str | None) -> None:
    """The six regions of overlap and class by which the types are defined (figure 2 of the paper), and their edges."""
    errors, _, names = errors_of(truth([(1, 1, BOX)]), [detection(1, category, box, 0.9)])
    assert names == [expected]
    # An object that a repaired detection would find is not missed in addition.
    assert errors.missed().tolist() == [expected in ("both", "background")]


def test_the_second_detection_of_an_object_is_a_duplicate() -> None:
    results = [
        detection(1, 1, overlapping(0.9), 0.8),
        detection(1, 1, overlapping(0.95), 0.7),
        detection(1, 1, overlapping(0.6), 0.6),
    ]
    errors, costs, names = errors_of(truth([(1, 1, BOX)]), results)
    assert names == [None, "duplicate", "duplicate"]
    assert not errors.missed().any()
    # One object, found first: what comes after it costs nothing.
    assert pytest.approx(1.0) == costs.AP50
    assert costs.types["duplicate"] == 0.0


def test_objects_of_other_images_are_not_compared() -> None:
    _, _, names = errors_of(truth([(2, 1, BOX)]), [detection(1, 1, BOX, 0.9)])
    assert names == ["background"]


def test_the_order_of_error_types() -> None:
    """Where several fit: localisation before classification before duplicate, as in the paper's program."""
    objects = truth([(1, 1, BOX), (1, 2, overlapping(0.45))])
    badly_placed = detection(1, 1, overlapping(0.45), 0.5)  # on the object of class 2, near that of class 1
    assert errors_of(objects, [badly_placed])[2] == ["localisation"]
    objects = truth([(1, 1, BOX), (1, 2, overlapping(0.9))])
    again = [detection(1, 1, BOX, 0.9), detection(1, 1, overlapping(0.95), 0.5)]
    assert errors_of(objects, again)[2] == [None, "classification"]


def test_ignored_detections_are_not_errors() -> None:
    """A detection in a crowd region is ignored, and a crowd region is not an object that could be missed."""
    objects = truth([(1, 1, BOX)], iscrowd=1)
    errors, costs, names = errors_of(objects, [detection(1, 1, [10.0, 10.0, 20.0, 20.0], 0.9)])
    assert names == [None]
    assert errors.counts().sum() == 0
    assert costs.AP50 is None


def test_in_a_federated_dataset_only_verified_classes_have_errors() -> None:
    """Detections of unverified classes are not errors, nor those of classes that are not exhaustively annotated."""
    objects = truth([(1, 1, BOX), (2, 1, BOX)], classes=4)
    objects["images"][0] |= {"neg_category_ids": [2], "not_exhaustive_category_ids": [1]}
    objects["images"][1] |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    far = [150.0, 100.0, 40.0, 40.0]
    results = [
        detection(1, 2, overlapping(0.9), 0.9),  # verified to be absent
        detection(1, 3, overlapping(0.9), 0.8),  # not verified
        detection(1, 1, far, 0.7),  # not all objects of it are annotated
        detection(2, 1, far, 0.6),
        detection(2, 2, far, 0.5),
    ]
    errors, _, names = errors_of(objects, results, Rules(per_image=300, federated=True))
    assert names == ["classification", None, None, "background", None]
    assert errors.missed().tolist() == [False, True]


def test_costs_by_hand() -> None:
    """Two classes of two objects each, at the 101 recalls of COCO.

    Class 1: 0.9 right, 0.8 background, 0.7 a localisation error on its second object. As it is, recall 1/2 at precision
    1, read at recalls 0 to 0.50: 51/101. With the box corrected: precision 1, and 2/3 from recall 0.51 on.
    Class 2: 0.6 of class 1 on its first object, a classification; nothing on the second, which is missed.
    """
    second = [150.0, 100.0, 80.0, 80.0]
    objects = truth([(1, 1, BOX), (1, 1, second), (2, 2, BOX), (2, 2, second)])
    results = [
        detection(1, 1, BOX, 0.9),
        detection(1, 1, [0.0, 150.0, 30.0, 30.0], 0.8),
        detection(1, 1, [150.0, 100.0, 80.0, 30.0], 0.7),
        detection(2, 1, BOX, 0.6),
    ]
    errors, costs, names = errors_of(objects, results)
    assert names == [None, "background", "localisation", "classification"]
    assert errors.counts().tolist() == [[1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]]
    half = 51 / 101
    assert pytest.approx(half / 2) == costs.AP50
    gains = {
        # Class 2 finds one of two objects at precision 1; what came last in class 1 is gone, which changes nothing.
        "classification": half / 2,
        "localisation": (half + 50 / 101 * 2 / 3) / 2 - half / 2,
        "both": 0,
        "duplicate": 0,
        "background": 0,
        # The missed object is one of class 2, of which nothing is found with or without it.
        "missed": 0,
    }
    assert costs.types == pytest.approx(gains)
    assert costs.false_positives == pytest.approx(0)
    # Class 1 has only the object that is found; class 2 has none and nothing detected, and is out of the mean.
    assert costs.false_negatives == pytest.approx(1 - half / 2)


def test_one_object_is_repaired_once() -> None:
    """Three errors about one object: the one with the highest score matches it, whatever its type."""
    objects = truth([(1, 1, BOX)])
    results = [
        detection(1, 1, overlapping(0.4), 0.9),
        detection(1, 2, overlapping(0.9), 0.8),
        detection(1, 1, overlapping(0.45), 0.7),
    ]
    _, costs, names = errors_of(objects, results)
    assert names == ["localisation", "classification", "localisation"]
    assert costs.AP50 == 0
    assert costs.types["localisation"] == pytest.approx(1)
    assert costs.types["classification"] == 0


def test_nothing_at_all() -> None:
    errors, costs, _ = errors_of(truth([]), [])
    assert errors.counts().tolist() == [[0] * 6] * 2
    assert costs.AP50 is None
    assert set(costs.types.values()) == {0.0}


@settings(max_examples=80, deadline=None)
@given(pairs())
def test_every_error_has_one_type_and_the_sums_agree(pair: Pair) -> None:
    """A detection without a type, or with two, would make the shares in the report wrong."""
    metrics = evaluate_coco(*pair)
    errors, costs, _ = errors_of(*pair)
    wrong = metrics.matches.fp[0]
    np.testing.assert_array_equal(errors.kind >= 0, wrong)
    np.testing.assert_array_equal(errors.matches.tp, metrics.matches.tp)
    for score in (-np.inf, metrics.operating_point.score):
        counts = errors.counts(score)
        assert counts[:, :MISSED].sum() == (wrong & (errors.matches.score >= score)).sum()
        covered = np.isin(errors.kind, (CLASSIFICATION, LOCALISATION)) & (errors.matches.score >= score)
        related = np.unique(errors.related_gt[covered])
        undetected = errors.gt_score < max(score, -1e300)
        assert counts[:, MISSED].sum() == undetected.sum() - undetected[related].sum()
    assert pytest.approx(metrics.summary["AP50"]) == costs.AP50


def repaired(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], errors: Errors, names: list[str | None], kind: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the set with all errors of a type repaired, one after the other from the highest score."""
    ground_truth, kept = copy.deepcopy(ground_truth), []
    annotations = [ground_truth["annotations"][k] for k in errors.gt_index.tolist()]
    if kind == "missed":
        gone = [entry for entry, missed in zip(annotations, errors.missed().tolist(), strict=True) if missed]
        ground_truth["annotations"] = [entry for entry in ground_truth["annotations"] if entry not in gone]
        return ground_truth, results
    related = dict(zip(errors.matches.dt_index.tolist(), errors.related_gt.tolist(), strict=True))
    matched = {k for k, score in enumerate(errors.gt_score.tolist()) if score > -1}
    for row in sorted(range(len(results)), key=lambda row: -results[row]["score"]):
        if names[row] in ("classification", "localisation") and related[row] not in matched:
            matched.add(related[row])
            if names[row] == kind:
                annotation = annotations[related[row]]
                kept.append({**results[row], "bbox": annotation["bbox"], "category_id": annotation["category_id"]})
                continue
        if names[row] != kind:
            kept.append(results[row])
    return ground_truth, kept


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("seed", range(3))
def test_a_cost_is_the_gain_of_pycocotools_once_the_errors_are_repaired(kind: str, seed: int) -> None:
    """The oracles of the paper, applied: detections are corrected or removed and measured again."""
    ground_truth, results = random_set(seed)
    # Each score once: with equal ones the order, in which images follow, decides, and it changes with the classes.
    results = [*results[:80], *(entry for entry in results[:80] if entry["score"] > 0.5)]
    results = [{**entry, "score": entry["score"] + n * 1e-4} for n, entry in enumerate(results)]
    errors, costs, names = errors_of(ground_truth, results)
    assert kind in names or kind == "missed"
    run = pycocotools_run(*repaired(ground_truth, results, errors, names, kind))
    assert costs.types[kind] == pytest.approx(max(run.stats[1] - costs.AP50, 0), abs=1e-12)
