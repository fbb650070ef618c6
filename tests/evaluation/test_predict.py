"""Predictions over a split: coordinates, ids, numbers, and shards put together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from codetr.data.batch import collate
from codetr.data.dataset import Split
from codetr.data.transforms import preprocess_image
from codetr.errors import UserError
from codetr.evaluation.predict import merge, predict_split
from codetr.evaluation.validate import validate
from codetr.inference.coco import coco_results
from codetr.models.structures import Detections
from codetr.weights.files import load_model
from tests.evaluation.small import CATEGORY_IDS, PREPROCESS, write_dataset, write_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return Split.open(write_dataset(tmp_path_factory.mktemp("predict"), 3), "val")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model")


def test_predictions_are_the_detectors_in_the_order_of_the_dataset(split: Split, model: Path, tmp_path: Path) -> None:
    """Boxes in the wrong frame, labels instead of category ids, or shuffled images give metrics near zero."""
    detector, _ = load_model(model)
    work = tmp_path / "work"
    found = predict_split(detector, split, PREPROCESS, device=CPU, batch_size=1, workers=0, work=work)
    assert found is not None
    assert not work.exists()
    expected = []
    for i in range(len(split)):
        record = split.record(i)
        pixels, sizes = preprocess_image(record.read(), PREPROCESS)
        with torch.no_grad():
            (detections,) = detector.detect(collate([pixels], [sizes], [record.image_id]))
        for (x1, y1, x2, y2), label, score in zip(
            detections.boxes.tolist(), detections.labels.tolist(), detections.scores.tolist(), strict=True
        ):
            expected.append((record.image_id, CATEGORY_IDS[label], [x1, y1, x2 - x1, y2 - y1], score))
    assert [entry["image_id"] for entry in found] == [entry[0] for entry in expected]
    assert [entry["category_id"] for entry in found] == [entry[1] for entry in expected]
    assert np.allclose([entry["bbox"] for entry in found], [entry[2] for entry in expected], atol=1e-4)
    assert np.allclose([entry["score"] for entry in found], [entry[3] for entry in expected], atol=1e-7)


def test_validation_leaves_training_as_it_was(split: Split, model: Path, tmp_path: Path) -> None:
    """A validation that drew random numbers or left the detector in evaluation mode would change the training run."""
    detector, _ = load_model(model)
    detector.train()
    before = torch.get_rng_state()
    metrics = validate(detector, split, PREPROCESS, device=CPU, batch_size=2, workers=1, work=tmp_path / "work")
    assert metrics is not None
    assert metrics.flat["ground_truths"] == 9
    assert detector.training
    assert torch.equal(torch.get_rng_state(), before)


def test_numbers_are_written_as_the_shortest_that_read_back_the_same() -> None:
    """Rounding would make ties, which change the metrics of the file against those of the model."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(200, generator=generator).sort(descending=True).values
    boxes = torch.rand(200, 4, generator=generator) * 1000
    boxes[:, 2:] += boxes[:, :2]
    results = coco_results(Detections(boxes, scores, torch.zeros(200, dtype=torch.int64)), 7, np.array([5]))
    read = json.loads(json.dumps(results))
    assert torch.equal(torch.tensor([entry["score"] for entry in read], dtype=torch.float32), scores)
    sizes = torch.tensor([entry["bbox"] for entry in read], dtype=torch.float32)[:, 2:]
    assert torch.equal(sizes, boxes[:, 2:] - boxes[:, :2])
    assert all(len(str(entry["score"])) <= 13 for entry in read)
    assert {(entry["image_id"], entry["category_id"]) for entry in read} == {(7, 5)}


@pytest.mark.parametrize("field", ["boxes", "scores"])
def test_a_detector_that_gives_nan_is_an_error(field: str) -> None:
    """NaN compares false with everything: pycocotools would sort it anywhere and say nothing."""
    detections = Detections(torch.rand(2, 4), torch.rand(2), torch.zeros(2, dtype=torch.int64))
    getattr(detections, field)[1] = float("nan")
    with pytest.raises(UserError, match=r"image 12.*not finite"):
        coco_results(detections, 12, np.array([1]))


@pytest.mark.parametrize("shards", [[{"100": []}, {"99": []}], [{"100": [], "99": []}, {"99": [], "98": []}]])
def test_a_missing_or_repeated_image_is_an_error(split: Split, tmp_path: Path, shards: list[dict[str, list]]) -> None:
    """Metrics over fewer images, or over one image twice, look like any other metrics."""
    files = []
    for rank, shard in enumerate(shards):
        files.append(tmp_path / f"rank-{rank}.json")
        files[-1].write_text(json.dumps(shard))
    with pytest.raises(UserError, match="expected 3"):
        merge(files, split)
