"""Metrics on small sets, compared with numbers computed by hand or by pycocotools."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from codetr.core.errors import UserError
from codetr.evaluation.metrics.coco import evaluate_coco
from codetr.evaluation.metrics.metric_spec import COCO_METRICS
from tests.support.evaluation.evaluation_sets import detection, random_set, truth


@pytest.mark.parametrize("seed", range(4))
def test_summary_and_classes_are_those_of_pycocotools(seed: int) -> None:
    """Crowds, ties and the limit of 100 detections are treated as pycocotools treats them, to the last bit."""
    ground_truth, predictions = random_set(seed)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = copy.deepcopy(ground_truth)
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(copy.deepcopy(predictions)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = evaluate_coco(ground_truth, predictions)
    assert [metrics.summary[name] for name in COCO_METRICS] == evaluation.stats.tolist()
    precision = evaluation.eval["precision"]
    assert [entry.AP for entry in metrics.classes] == [precision[:, :, k, 0, 2].mean() for k in range(4)]
    assert [entry.AP50 for entry in metrics.classes] == [precision[0, :, k, 0, 2].mean() for k in range(4)]


def test_inputs_are_left_alone() -> None:
    """pycocotools writes ids, areas and flags into what it is given; the caller's predictions go into a file later."""
    ground_truth, predictions = random_set(0)
    before = copy.deepcopy((ground_truth, predictions))
    evaluate_coco(ground_truth, predictions)
    assert (ground_truth, predictions) == before


def test_no_predictions_is_a_result_of_zero() -> None:
    """A detector that finds nothing has AP 0; pycocotools raises an IndexError."""
    metrics = evaluate_coco(truth([(1, 1, [10, 10, 50, 50])]), [])
    assert metrics.summary["AP"] == 0.0
    assert metrics.flat["detections"] == 0
    assert metrics.operating_point.precision is None
    assert metrics.operating_point.recall == 0.0


def test_missing_metrics_are_none_and_never_nan() -> None:
    """-1 averaged into a metric, or NaN in a JSON file, would be read as a number or not at all."""
    metrics = evaluate_coco(truth([(1, 1, [10, 10, 50, 50])]), [detection(1, 1, [10, 10, 50, 50], 0.9)])
    assert metrics.summary["APs"] is None  # no object is small
    assert metrics.classes[1].AP is None  # no object is of class 2
    assert np.isnan(metrics.precision[:, :, 1]).all()
    json.dumps(metrics.flat, allow_nan=False)


def test_a_set_without_objects_has_no_metrics() -> None:
    """A split whose objects are all gone must not look like a bad model."""
    metrics = evaluate_coco(truth([]), [detection(1, 1, [10, 10, 50, 50], 0.9)])
    assert set(metrics.summary.values()) == {None}
    assert metrics.operating_point.recall is None
    assert metrics.images[0].f1 == 0.0
    assert metrics.images[1].f1 is None


def test_annotation_id_zero_and_repeated_ids_count() -> None:
    """pycocotools reads a match with annotation 0 as no match, and merges annotations that share an id."""
    boxes = [(1, 1, [10.0, 10.0, 50.0, 50.0]), (1, 1, [100.0, 100.0, 50.0, 50.0])]
    ground_truth = truth(boxes)
    for annotation in ground_truth["annotations"]:
        annotation["id"] = 0
    metrics = evaluate_coco(ground_truth, [detection(1, 1, box, 0.9) for _, _, box in boxes])
    assert metrics.summary["AP"] == pytest.approx(1.0)
    assert metrics.images[0].tp == 2


def test_masks_are_not_derived_from_boxes() -> None:
    """pycocotools uses the box of a detection without a mask as its mask, and returns a mask AP of boxes."""
    segmentation: dict[str, Any] = {"segmentation": [[10, 10, 60, 10, 60, 60, 10, 60]]}
    with pytest.raises(UserError, match="predictions: 1 of 1 have no segmentation"):
        evaluate_coco(
            truth([(1, 1, [10, 10, 50, 50])], **segmentation), [detection(1, 1, [10, 10, 50, 50], 0.9)], "segm"
        )
    with pytest.raises(UserError, match="annotations: 1 of 1"):
        evaluate_coco(truth([(1, 1, [10, 10, 50, 50])]), [], "segm")
