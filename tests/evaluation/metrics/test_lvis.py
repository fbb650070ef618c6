"""LVIS's rules one by one, on sets whose metrics can be computed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from codetr.core.errors import UserError
from codetr.core.files import write_json
from codetr.data.segmentation import encode_mask
from codetr.evaluation.analysis.explain import analyse
from codetr.evaluation.evaluate import evaluate_predictions, evaluate_results
from codetr.evaluation.metrics.lvis import evaluate_lvis
from codetr.evaluation.report.page import EvaluationReport, render_report
from codetr.evaluation.tables.coco_json import read_ground_truth
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable
from tests.support.evaluation.evaluation_sets import detection, sides, truth
from tests.support.paths import ROOT

GOLDEN = ROOT / "tests" / "golden" / "lvis_metrics.json"

BOX, ELSEWHERE = [10.0, 10.0, 50.0, 50.0], [150.0, 100.0, 50.0, 50.0]


def federated(
    boxes: list[tuple[int, int, list[float]]], negative: Any = None, not_exhaustive: Any = None, **fields: Any
) -> dict[str, Any]:
    """Ground truth of three classes, the frequencies of which are r, c and f; lists are by image id."""
    ground_truth = truth(boxes, classes=3, **fields)
    for image in ground_truth["images"]:
        image["neg_category_ids"] = (negative or {}).get(image["id"], [])
        image["not_exhaustive_category_ids"] = (not_exhaustive or {}).get(image["id"], [])
    for category, frequency in zip(ground_truth["categories"], "rcf", strict=True):
        category["frequency"] = frequency
    return ground_truth


RIGHT, WRONG = detection(1, 1, BOX, 0.5), detection(2, 1, BOX, 0.9)
HALF = 0.5
"""AP with one object, found by the second-best detection."""


def ap(ground_truth: dict[str, Any], predictions: list[dict[str, Any]], **limit: Any) -> float | None:
    return evaluate_lvis(ground_truth, predictions, **limit).summary["AP"]


def test_detections_of_unverified_classes_are_dropped() -> None:
    """They may be correct; counted as false positives, they would lower the AP of good detectors."""
    objects = [(1, 1, BOX)]
    assert ap(federated(objects), [RIGHT, WRONG]) == pytest.approx(1)
    assert ap(federated(objects, negative={2: [1]}), [RIGHT, WRONG]) == pytest.approx(HALF)
    assert ap(federated([*objects, (2, 1, ELSEWHERE)]), [RIGHT, WRONG]) == pytest.approx(51 / 101 / 2)


def test_false_positives_of_classes_that_are_not_exhaustively_annotated_are_ignored() -> None:
    """Their objects may be there without an annotation; detections that match an annotated one count."""
    twice = [RIGHT, detection(1, 1, ELSEWHERE, 0.9)]
    assert ap(federated([(1, 1, BOX)]), twice) == pytest.approx(HALF)
    assert ap(federated([(1, 1, BOX)], not_exhaustive={1: [1]}), twice) == pytest.approx(1)
    assert ap(federated([(1, 1, BOX)], not_exhaustive={1: [2], 2: [1]}), twice) == pytest.approx(HALF)


def test_the_limit_is_for_an_image_and_comes_before_everything_else() -> None:
    """Detections that will be dropped count towards it, or a detector could guess without limit."""
    guesses = [detection(1, 2, ELSEWHERE, 0.9)] * 300
    assert ap(federated([(1, 1, BOX)]), [*guesses[1:], RIGHT]) == pytest.approx(1)
    assert ap(federated([(1, 1, BOX)]), [*guesses, RIGHT]) == 0
    assert ap(federated([(1, 1, BOX)]), [*guesses, RIGHT], max_dets=None) == pytest.approx(1)
    assert ap(federated([(1, 1, BOX)]), [RIGHT, *guesses], max_dets=1) == 0


def test_of_equal_scores_the_earlier_detection_is_within_the_limit() -> None:
    equal = [detection(1, 1, BOX, 0.5), detection(1, 1, ELSEWHERE, 0.5)]
    assert ap(federated([(1, 1, BOX)]), equal, max_dets=1) == pytest.approx(1)
    assert ap(federated([(1, 1, BOX)]), equal[::-1], max_dets=1) == 0


def test_there_are_no_crowds() -> None:
    """A region marked as one is an object like any other, to be found once."""
    ground_truth = federated([(1, 1, BOX)], iscrowd=1)
    metrics = evaluate_lvis(ground_truth, [RIGHT, detection(1, 1, BOX, 0.4)])
    assert metrics.summary["AP"] == pytest.approx(1)
    assert metrics.classes[0].precision == 1  # at the operating point, without the second
    assert metrics.matches.fp[0].sum() == 1


def test_the_size_of_an_object_is_what_the_file_says() -> None:
    """Not that of its box or its mask, both of which are of medium size here."""
    segmentation = {"segmentation": [[10, 10, 60, 10, 60, 60, 10, 60]], "area": 96.0**2 + 1}
    found = {**RIGHT, "segmentation": {"size": [200, 300], "counts": _code()}}
    for kind in ("bbox", "segm"):
        summary = evaluate_lvis(federated([(1, 1, BOX)], **segmentation), [found], kind).summary
        assert (summary["APs"], summary["APm"], summary["APl"]) == (None, None, pytest.approx(1))


def test_the_size_of_a_detection_is_that_of_its_box_if_it_has_one() -> None:
    """It decides in which size range a false positive counts."""
    segmentation = {"segmentation": [[10, 10, 60, 10, 60, 60, 10, 60]], "area": 500.0}
    mask = {"segmentation": {"size": [200, 300], "counts": _code()}}  # 2,500 pixels: medium
    wrong = {**detection(2, 1, [0.0, 0.0, 20.0, 20.0], 0.9), **mask}  # 400: small
    ground_truth = federated([(1, 1, BOX)], negative={2: [1]}, **segmentation)
    both = [wrong, {**RIGHT, **mask}]
    assert evaluate_lvis(ground_truth, both, "segm").summary["APs"] == pytest.approx(HALF)
    alone = [{key: value for key, value in entry.items() if key != "bbox"} for entry in both]
    assert evaluate_lvis(ground_truth, alone, "segm").summary["APs"] == pytest.approx(1)


def _code() -> str:
    mask = np.zeros((200, 300), bool)
    mask[10:60, 10:60] = True
    return encode_mask(mask)["counts"]


def test_every_frequency_has_its_ap() -> None:
    """The AP of rare classes is what LVIS was made to show."""
    objects = [(1, k, BOX) for k in (1, 2, 3)]
    metrics = evaluate_lvis(federated(objects), [detection(1, 1, BOX, 0.9), detection(1, 3, ELSEWHERE, 0.9)])
    assert [metrics.summary[f"AP{group}"] for group in "rcf"] == [pytest.approx(1), 0, 0]
    assert [entry.frequency for entry in metrics.classes] == ["r", "c", "f"]
    ground_truth = federated(objects)
    for category in ground_truth["categories"]:
        del category["frequency"]
    unknown = evaluate_lvis(ground_truth, []).summary
    assert [unknown[name] for name in ("AP", "APr", "APc", "APf")] == [0, None, None, None]


def test_the_ground_truth_decides_between_coco_and_lvis_metrics() -> None:
    """COCO's AP of a federated dataset cannot be compared; its main metric is still named AP for the gate."""
    predictions = [RIGHT, WRONG]
    assert list(evaluate_predictions(*sides(federated([(1, 1, BOX)]), predictions), masks=False).flat)[:13] == [
        *("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"),
        *("AR@300", "ARs@300", "ARm@300", "ARl@300"),
    ]
    assert "AR100" in evaluate_results(*sides(truth([(1, 1, BOX)]), predictions)).summary


def test_masks_are_measured_by_the_same_rules() -> None:
    segmentation = {"segmentation": [[10, 10, 60, 10, 60, 60, 10, 60]]}
    mask = {"segmentation": {"size": [200, 300], "counts": _code()}}
    found = [{**RIGHT, **mask}, {**WRONG, **mask}]
    measured = evaluate_predictions(*sides(federated([(1, 1, BOX)], **segmentation), found), masks=True)
    assert measured.flat["mask_AP"] == pytest.approx(1)
    assert measured.flat["mask_APr"] == pytest.approx(1)


def test_metrics_of_an_image_exclude_unverified_detections() -> None:
    metrics = evaluate_lvis(federated([(1, 1, BOX)]), [RIGHT, WRONG])
    assert [(entry.tp, entry.fp, entry.fn, entry.AP) for entry in metrics.images] == [
        (1, 0, 0, pytest.approx(1)),
        (0, 0, 0, None),
    ]


def test_the_report_names_the_metrics_it_shows() -> None:
    ground_truth = federated([(1, k, BOX) for k in (1, 2)])
    objects = GroundTruth.of_coco(ground_truth)
    analysis = analyse(objects, PredictionTable.of_coco([RIGHT], objects), evaluate_lvis(ground_truth, [RIGHT]))
    html = render_report(EvaluationReport("a recipe", "val", analysis, [], [], [], [], 0, []))
    for expected in ("LVIS metrics", "AP, rare classes", "AR, 300 detections per image", "AR, small", ">common<"):
        assert expected in html
    assert "AR, 10" not in html


@pytest.mark.parametrize("field", ["neg_category_ids", "not_exhaustive_category_ids"])
def test_broken_lists_are_refused(field: str, tmp_path: Path) -> None:
    ground_truth = federated([(1, 1, BOX)])
    ground_truth["images"][1][field] = ["x"]
    write_json(tmp_path / "truth.json", ground_truth)
    with pytest.raises(UserError, match=rf"images\[1\]\.{field}: \['x'\] is not a list of ids"):
        read_ground_truth(tmp_path / "truth.json")


@pytest.mark.parametrize("most", [300, 4])
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_numbers_are_those_that_the_package_lvis_gave(kind: Literal["bbox", "segm"], most: int) -> None:
    """To the last bit, on drawn images with ties, duplicates, unverified classes and more detections than count."""
    golden = json.loads(GOLDEN.read_text())
    found = evaluate_lvis(golden["ground_truth"], golden["predictions"], kind, max_dets=most).summary
    assert {name.split("@")[0]: value for name, value in found.items()} == golden["results"][f"{kind} {most}"]
