"""Masks: predictions, metrics and pictures."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from typer.testing import CliRunner

from codetr.cli.app import app
from codetr.core.errors import UserError
from codetr.data.config import SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.loading.collate import collate
from codetr.data.segmentation import decode, encode_mask
from codetr.data.synthetic import ANNOTATIONS, SHAPES, draw_sample_data
from codetr.data.transforms.preprocess import preprocess_image
from codetr.evaluation.config import EvaluateConfig
from codetr.evaluation.evaluate import evaluate_predictions, evaluate_results
from codetr.evaluation.metrics.coco import evaluate_coco
from codetr.evaluation.metrics.metric_spec import COCO_METRICS
from codetr.evaluation.report.pictures import draw_picture
from codetr.evaluation.tables.coco_json import read_predictions
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable
from codetr.inference.coco_results import coco_results
from codetr.models.masks import RegionMasks
from codetr.models.structures import Detections
from codetr.steps.evaluate import evaluate
from codetr.steps.prepare import prepare
from codetr.weights.model_folder import load_model
from tests.support.evaluation.evaluation_sets import sides
from tests.support.models.small_models import PREPROCESS, masked, write_dataset, write_model


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images` and annotations of which every one has a segmentation."""
    folder = tmp_path_factory.mktemp("masks") / "shapes"
    draw_sample_data(folder, 4, val_fraction=0.75, seed=2, sides=(48, 80))
    return folder / "val"


@pytest.fixture(scope="module")
def dataset(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = SourceConfig(annotations=str(drawn / ANNOTATIONS), images=str(drawn / "images"))
    folder = tmp_path_factory.mktemp("prepared") / "dataset"
    prepare(PrepareConfig(train=(source,), val=(source,)), folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model", tuple(SHAPES), **masked())


@pytest.fixture(scope="module")
def evaluation(dataset: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "evaluation"
    evaluate(EvaluateConfig(workers=0, pictures=1), model, dataset, output)
    return output


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_every_prediction_has_the_mask_of_its_detection(evaluation: Path, dataset: Path, model: Path) -> None:
    """A mask of another detection, or with rows and columns exchanged, gives an AP near zero and no error."""
    detector, _ = load_model(model)
    split = Split.open(dataset, "val")
    predictions = iter(read(evaluation / "predictions.json"))
    for i in range(len(split)):
        record = split.record(i)
        pixels, sizes = preprocess_image(record.read(), PREPROCESS)
        (found,) = detector.detect(collate([pixels], [sizes], [record.image_id]))
        assert found.masks is not None
        for score, mask in zip(found.scores.tolist(), found.masks, strict=True):
            entry = next(predictions)
            assert entry["image_id"] == record.image_id
            assert entry["score"] == pytest.approx(score, abs=1e-6)
            assert entry["mask_score"] == entry["score"]  # this kind of mask head predicts no overlap
            assert (decode(entry["segmentation"], record.height, record.width) == mask.numpy()).all()
    assert next(predictions, None) is None


def pycocotools_summary(ground_truth: dict[str, Any], results: list[dict[str, Any]]) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(ground_truth)
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats.tolist()


def test_mask_metrics_are_those_of_pycocotools(evaluation: Path, drawn: Path) -> None:
    """As in the programs that published metrics come from: masks without boxes, ranked by their mask scores."""
    predictions = read(evaluation / "predictions.json")
    results = [
        {"image_id": p["image_id"], "category_id": p["category_id"], "score": p["mask_score"]}
        | {"segmentation": p["segmentation"]}
        for p in predictions
    ]
    expected = pycocotools_summary(read(drawn / ANNOTATIONS), results)
    metrics = read(evaluation / "metrics.json")
    assert [metrics[f"mask_{name}"] for name in COCO_METRICS] == [None if v == -1 else v for v in expected]
    assert {"AP", "score_threshold"} <= metrics.keys()


def test_scoring_the_predictions_gives_the_same_numbers(evaluation: Path, drawn: Path) -> None:
    metrics = read(evaluation / "metrics.json")
    for arguments, prefix in (([], ""), (["--masks"], "mask_")):
        files = [str(drawn / ANNOTATIONS), str(evaluation / "predictions.json")]
        result = CliRunner().invoke(app, ["score", *files, *arguments])
        assert result.exit_code == 0, result.output
        scored = json.loads(result.stdout)
        assert [scored[name] for name in COCO_METRICS] == [metrics[prefix + name] for name in COCO_METRICS]


def test_the_folder_and_the_report_have_mask_metrics(evaluation: Path) -> None:
    assert all({"AP", "mask_AP", "mask_AP50"} <= row.keys() for row in read(evaluation / "per_class.json"))
    assert (evaluation / "plots/mask_precision_recall.png").is_file()
    report = (evaluation / "report.html").read_text()
    assert "mask AP, IoU 0.50 to 0.95" in report
    assert "Mask AP50" in report
    assert "no mask metrics" not in report


def test_without_segmentations_boxes_are_measured_and_the_report_says_so(tmp_path: Path) -> None:
    """Boxes must not be measured as masks, and the metrics of boxes must be there."""
    dataset, model = write_dataset(tmp_path, 2), write_model(tmp_path / "model", **masked())
    evaluate(EvaluateConfig(workers=0, pictures=0), model, dataset, tmp_path / "out")
    assert not any(name.startswith("mask") for name in read(tmp_path / "out/metrics.json"))
    assert "There are no mask metrics: 6 objects" in (tmp_path / "out/report.html").read_text()


def test_perfect_masks_have_an_average_precision_of_one(dataset: Path) -> None:
    """Even with inaccurate boxes; with separate mask scores, the better of two masks ranks first."""
    truth = Split.open(dataset, "val").to_coco()
    images = {entry["id"]: (entry["height"], entry["width"]) for entry in truth["images"]}
    predictions = []
    for entry in truth["annotations"]:
        mask = torch.from_numpy(decode(entry["segmentation"], *images[entry["image_id"]]))
        height, width = mask.shape
        # A grid as fine as the image over the whole image is the mask itself.
        side = max(height, width)
        square = torch.zeros(side, side)
        square[:height, :width] = mask
        box = torch.tensor([[0.0, 0.0, side, side]])
        for probabilities, score, mask_score in ((square, 0.8, 0.9), (1 - square, 0.9, 0.1)):
            grid = RegionMasks(probabilities[None], box, (height, width))
            found = Detections(box, torch.tensor([score]), torch.tensor([0]), grid, torch.tensor([mask_score]))
            predictions += coco_results(found, entry["image_id"], np.array([entry["category_id"]]))
    measured = evaluate_predictions(*sides(truth, predictions), masks=True)
    assert measured.masks is not None
    assert measured.masks.summary["AP"] == pytest.approx(1.0)
    assert measured.flat["mask_AP"] == measured.masks.summary["AP"]
    box_ap = measured.boxes.summary["AP"]
    assert box_ap is not None
    assert box_ap < 0.5
    assert "mask_AP" not in evaluate_predictions(*sides(truth, predictions), masks=False).flat
    for entry in predictions:
        entry["mask_score"] = entry["score"]
    by_box_score = evaluate_coco(truth, predictions, "segm").summary["AP"]
    assert by_box_score is not None
    assert by_box_score < 0.9


def test_a_mask_score_beyond_1_is_refused(evaluation: Path, drawn: Path, tmp_path: Path) -> None:
    predictions = read(evaluation / "predictions.json")[:2]
    predictions[1]["mask_score"] = 1.5
    (tmp_path / "results.json").write_text(json.dumps(predictions))
    with pytest.raises(UserError, match=r"\[1\].mask_score: 1.5 is not a number in"):
        read_predictions(tmp_path / "results.json", read(drawn / ANNOTATIONS))


def test_pictures_show_the_masks_of_both_sides(dataset: Path) -> None:
    split = Split.open(dataset, "val")
    record = split.record(0)
    image = np.zeros((record.height, record.width, 3), np.uint8)
    truth = GroundTruth.of_split(split)
    images = {entry["id"]: (entry["height"], entry["width"]) for entry in split.to_coco()["images"]}
    results = [
        {**entry, "score": 0.9, "segmentation": encode_mask(decode(entry["segmentation"], *images[entry["image_id"]]))}
        for entry in split.to_coco()["annotations"]
    ]
    predictions = PredictionTable.of_coco(results, truth)
    matches = evaluate_results(truth, predictions).matches
    position = truth.position(record.image_id)
    plain, tinted = (
        np.asarray(draw_picture(image, position, truth, predictions, matches, 0.5, masks=masks, long_side=400)).astype(
            int
        )
        for masks in (False, True)
    )
    changed = (plain != tinted).any(axis=2)
    half = changed.shape[1] // 2
    assert changed[:, :half].any()
    assert changed[:, half:].any()
