"""Metrics of published and made-up result files against full-precision reference numbers of pycocotools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from codetr.core.errors import UserError
from codetr.evaluation.metrics.coco import evaluate_coco
from codetr.evaluation.tables.coco_json import read_predictions

# Ours by theirs: the area ranges are written out in the reference files.
NAMES = {name: name for name in ("AP", "AP50", "AP75", "AR1", "AR10", "AR100")} | {
    f"{metric}{size[0]}": f"{metric}{size}" for metric in ("AP", "AR") for size in ("small", "medium", "large")
}


def load(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("name", "results", "kind"),
    [
        ("val2014_fakebbox100", "instances_val2014_fakebbox100_results", "bbox"),
        ("val2014_fakesegm100", "instances_val2014_fakesegm100_results", "bbox"),
        ("val2014_fakesegm100", "instances_val2014_fakesegm100_results", "segm"),
        ("coco_val50_synth", "coco_val50_synth_dt", "bbox"),
        ("coco_val50_synth", "coco_val50_synth_dt", "segm"),
        ("coco_val50_synth", "coco_val50_synth_dt", "segm_bbox_removed_from_detections"),
    ],
)
def test_every_number_equals_the_reference_exactly(data: Path, name: str, results: str, kind: str) -> None:
    """Not approximately: a metric is compared across tools and months by its printed digits."""
    folder = data / "eval_pairs"
    reference = load(folder / f"{name}.reference.json")
    ground_truth = load(folder / reference["gt"])
    predictions = read_predictions(folder / f"{results}.json", ground_truth)
    if kind == "segm_bbox_removed_from_detections":
        for entry in predictions:
            del entry["bbox"]
    iou_type: Literal["bbox", "segm"] = "bbox" if kind == "bbox" else "segm"
    metrics = evaluate_coco(ground_truth, predictions, iou_type)
    expected = reference[kind]
    assert metrics.summary == {ours: expected[theirs] for ours, theirs in NAMES.items()}
    per_class = {str(entry.category_id): {"AP": entry.AP, "AR100": entry.AR} for entry in metrics.classes}
    assert per_class == expected["per_category"]


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("dt_dict_not_list", "expected a list"),
        ("dt_missing_score", "score: is missing"),
        ("dt_nan_bbox", "bbox"),
        ("dt_nan_score", "score: nan"),
        ("dt_negative_size", "negative width"),
        ("dt_score_out_of_range", r"score: 1\.7"),
        ("dt_string_score", r"score: '0\.9'"),
        ("dt_unknown_category", "category_id: 55"),
        ("dt_unknown_image", "image_id: 99"),
    ],
)
def test_broken_result_files_are_refused(data: Path, file: str, problem: str) -> None:
    """Each would otherwise give metrics that look fine, or a traceback."""
    ground_truth = load(data / "odd/annotations/baseline.json")
    with pytest.raises(UserError, match=problem):
        read_predictions(data / f"odd/results/{file}.json", ground_truth)


@pytest.mark.parametrize(
    "file", ["dt_all_equal_scores", "dt_baseline", "dt_empty", "dt_float_ids", "dt_int_score", "dt_many_150"]
)
def test_unusual_result_files_are_measured(data: Path, file: str) -> None:
    """Equal scores, whole floats as ids, integers as scores, many or no detections are unusual but sound."""
    ground_truth = load(data / "odd/annotations/baseline.json")
    predictions = read_predictions(data / f"odd/results/{file}.json", ground_truth)
    assert evaluate_coco(ground_truth, predictions).summary["AP"] is not None
