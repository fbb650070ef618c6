"""LVIS metrics of made-up detections on real annotations against full-precision numbers of the package lvis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from codetr.data.config import SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.evaluation.metrics.lvis import evaluate_lvis
from codetr.evaluation.tables.coco_json import check_masks, read_ground_truth, read_predictions
from codetr.steps.prepare import prepare


@pytest.mark.parametrize(("limit", "most"), [("max_dets_300", 300), ("max_dets_all", None), ("max_dets_50", 50)])
@pytest.mark.parametrize("kind", ["bbox", "segm", "segm_bbox_removed_from_detections"])
def test_every_number_equals_the_reference_exactly(data: Path, limit: str, most: int | None, kind: str) -> None:
    """Two images have more than 300 detections, and scores are tied."""
    folder = data / "lvis_val100"
    expected = json.loads((folder / "lvis_val100_synth.reference.json").read_text())[limit][kind]
    ground_truth = read_ground_truth(folder / "annotations/lvis_val_100.json")
    predictions = read_predictions(folder / "lvis_val100_synth_dt.json", ground_truth)
    if kind == "segm_bbox_removed_from_detections":
        for entry in predictions:
            del entry["bbox"]
    iou_type: Literal["bbox", "segm"] = "bbox" if kind == "bbox" else "segm"
    if iou_type == "segm":
        check_masks(ground_truth, predictions)
    summary = evaluate_lvis(ground_truth, predictions, iou_type, max_dets=most).summary
    # The reference names recalls after lvis's default, whatever the limit was.
    assert {name.partition("@")[0]: value for name, value in summary.items()} == {
        name.partition("@")[0]: value for name, value in expected.items()
    }


@pytest.mark.parametrize("layout", ["lvis_val_5_with_images", "lvis_val_5_v1_layout"])
def test_a_prepared_dataset_gives_the_metrics_of_its_annotation_file(data: Path, tmp_path: Path, layout: str) -> None:
    """With the lists of verified classes or the frequencies lost on the way, other numbers would come out."""
    folder = data / "lvis_val100"
    file = folder / f"annotations/{layout}.json"
    source = SourceConfig(annotations=str(file), images=str(folder / "images"))
    prepare(PrepareConfig(train=source, val=source), tmp_path / "dataset")
    original = json.loads(file.read_text())
    split = Split.open(tmp_path / "dataset", "val")
    assert split.federated
    for image, entry in zip(original["images"], split.to_coco()["images"], strict=True):
        for field in ("neg_category_ids", "not_exhaustive_category_ids"):
            assert entry[field] == sorted(image[field])
    categories = {entry["id"]: entry for entry in original["categories"]}
    for entry in split.to_coco()["categories"]:
        assert entry == {field: categories[entry["id"]][field] for field in ("id", "name", "frequency", "image_count")}
    image_ids = set(split.image_ids.tolist())
    found = json.loads((folder / "lvis_val100_synth_dt.json").read_text())
    predictions = [entry for entry in found if entry["image_id"] in image_ids]
    for kind in ("bbox", "segm"):
        summary = evaluate_lvis(split.to_coco(), predictions, kind).summary
        assert summary == evaluate_lvis(original, predictions, kind).summary
        assert summary["AP"] is not None
