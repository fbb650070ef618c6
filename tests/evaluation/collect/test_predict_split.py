"""Predictions over a split: coordinates, ids, values, and the parts of several processes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from codetr.core.errors import UserError
from codetr.data.dataset.split import Split
from codetr.data.loading.collate import collate
from codetr.data.transforms.preprocess import preprocess_image
from codetr.distributed.processes import Processes
from codetr.evaluation.collect.predict_split import predict_split
from codetr.evaluation.evaluate import validate
from codetr.evaluation.tables import coco_json
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable
from codetr.inference.coco_results import coco_results
from codetr.inference.config import TilesConfig, TTAConfig
from codetr.inference.load import build_predictor
from codetr.inference.predictor import Model, Predictor
from codetr.models.structures import Detections, ImageBatch
from codetr.weights.model_folder import load_model
from tests.support.evaluation.evaluation_sets import random_set
from tests.support.models.small_models import CATEGORY_IDS, PREPROCESS, write_dataset, write_model
from tests.support.training.ranks import run_on_ranks

ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("predict"), 3)


@pytest.fixture(scope="module")
def split(dataset: Path) -> Split:
    return Split.open(dataset, "val")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model")


def test_predictions_are_the_detectors_by_image(split: Split, model: Path, tmp_path: Path) -> None:
    """Boxes in the wrong frame, labels instead of category ids, or shuffled images give metrics near zero."""
    detector, info = load_model(model)
    work = tmp_path / "work"
    found = predict_split(Model(detector, info), split, group=ALONE, batch_size=1, workers=0, work=work)
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
    expected.sort(key=lambda entry: entry[0])
    written = found.to_coco(GroundTruth.of_split(split), np.arange(len(found)))
    assert [entry["image_id"] for entry in written] == [entry[0] for entry in expected]
    assert [entry["category_id"] for entry in written] == [entry[1] for entry in expected]
    assert np.allclose([entry["bbox"] for entry in written], [entry[2] for entry in expected], atol=1e-4)
    assert np.allclose([entry["score"] for entry in written], [entry[3] for entry in expected], atol=1e-7)


@pytest.mark.parametrize("workers", [0, 2])
def test_wrappers_detect_in_a_split_what_they_detect_in_its_images(
    split: Split, model: Path, tmp_path: Path, workers: int
) -> None:
    """Views that loader processes prepare in another order, or merge with those of another image, would be wrong."""
    settings = TTAConfig(scales=(1.0, 1.5)), TilesConfig(size=40, overlap=0.2, batch_size=3)
    predictor = build_predictor(Model(*load_model(model)), *settings)
    work = tmp_path / "work"
    found = predict_split(predictor, split, group=ALONE, batch_size=2, workers=workers, work=work)
    assert found is not None
    entries = []
    for start in range(0, len(split), 2):
        records = [split.record(i) for i in range(start, min(start + 2, len(split)))]
        for record, detections in zip(records, predictor.detect([one.read() for one in records]), strict=True):
            entries += coco_results(detections, record.image_id, np.array(CATEGORY_IDS))
    entries.sort(key=lambda entry: entry["image_id"])
    assert found.to_coco(GroundTruth.of_split(split), np.arange(len(found))) == entries


def test_validation_leaves_training_as_it_was(split: Split, model: Path, tmp_path: Path) -> None:
    """A validation that drew random numbers or left the detector in evaluation mode would change the training run."""
    detector, info = load_model(model)
    detector.train()
    before = torch.get_rng_state()
    metrics = validate(detector, info, split, group=ALONE, batch_size=2, workers=1, work=tmp_path / "work")
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
    written = coco_results(Detections(boxes, scores, torch.zeros(200, dtype=torch.int64)), 7, np.array([5]))
    read = json.loads(json.dumps(written))
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


class Breaking(Model):
    """A model that stops working after some batches, and keeps the images it is shown."""

    def __init__(self, folder: Path, batches: int) -> None:
        super().__init__(*load_model(folder))
        self.left, self.seen = batches, list[int]()

    def run(self, batch: ImageBatch) -> list[Detections]:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.seen += batch.image_ids
        return super().run(batch)


def run(predictor: Predictor, split: Split, work: Path, key: str | None) -> PredictionTable | None:
    return predict_split(predictor, split, group=ALONE, batch_size=1, workers=0, work=work, key=key, part_seconds=0.0)


def test_an_interrupted_evaluation_resumes(split: Split, model: Path, tmp_path: Path) -> None:
    """Hours of work would be lost; and the detections that are kept must be those that would be computed."""
    whole = run(Model(*load_model(model)), split, tmp_path / "whole", None)
    work = tmp_path / "work"
    first, second, other = Breaking(model, 2), Breaking(model, 9), Breaking(model, 9)
    with pytest.raises(KeyboardInterrupt):
        run(first, split, work, "this")
    resumed = run(second, split, work, "this")
    ids = split.image_ids.tolist()
    assert (first.seen, second.seen) == (ids[:2], ids[2:])
    assert whole is not None
    assert resumed is not None
    for name in ("image", "label", "boxes_xywh", "score"):
        assert np.array_equal(getattr(resumed, name), getattr(whole, name))
    # Weights or settings that differ make everything that is there worthless.
    run(other, split, work, "another")
    assert other.seen == ids


TWO_RANKS = """
from pathlib import Path
from codetr.data.dataset.split import Split
from codetr.core.errors import UserError
from codetr.evaluation.collect import predict_split as predict
from codetr.distributed.processes import processes
from codetr.inference.predictor import Model
from codetr.weights.model_folder import load_model

def fail(*rest):
    raise UserError("damaged", where="work")

predict.{name} = fail
with processes() as group:
    model = Model(*load_model(Path({model!r})))
    split = Split.open(Path({dataset!r}), "val")
    try:
        predict.predict_split(model, split, group=group, batch_size=1, workers=0, work=Path({work!r}))
    except BaseException as error:
        assert type(error) is (UserError if group.is_main else SystemExit), repr(error)
    else:
        raise AssertionError("went on")
assert not Path({work!r}).exists()
"""


@pytest.mark.parametrize("name", ["begin", "gather"])
def test_an_error_of_the_first_process_stops_all(dataset: Path, model: Path, tmp_path: Path, name: str) -> None:
    """The others would wait for up to an hour, and the user would read their time-out instead of the error."""
    values = {"model": str(model), "dataset": str(dataset), "work": str(tmp_path / "work")}
    run_on_ranks(TWO_RANKS.format(name=name, **values), 2, tmp_path / "run.py")


def test_damaged_files_of_an_earlier_run_are_computed_again(
    split: Split, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused at every start, they would have to be found and removed by hand."""
    whole = run(Model(*load_model(model)), split, tmp_path / "work", "this")
    path = tmp_path / "work" / "batch-00000001.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    again = Breaking(model, 9)
    resumed = run(again, split, tmp_path / "work", "this")
    assert again.seen == split.image_ids[1:2].tolist()
    assert whole is not None
    assert resumed is not None
    assert np.array_equal(resumed.boxes(), whole.boxes())
    assert "batch-00000001.safetensors" in capsys.readouterr().err


def test_ground_truth_from_the_index_is_that_of_the_annotations(tmp_path: Path) -> None:
    """A difference would be another AP in `evaluate` than in `score`."""
    for federated in (False, True):
        opened = Split.open(write_dataset(tmp_path / str(federated), 4, federated=federated), "val")
        found, expected = GroundTruth.of_split(opened), GroundTruth.of_coco(opened.to_coco())
        for field in dataclasses.fields(GroundTruth):
            ours, theirs = getattr(found, field.name), getattr(expected, field.name)
            if isinstance(theirs, np.ndarray):
                assert np.array_equal(ours, theirs), field.name
            else:
                assert ours == theirs or list(ours) == list(theirs), field.name


def test_predictions_are_written_as_json_would_be(tmp_path: Path) -> None:
    """The file is written in several parts."""
    ground_truth, found = random_set(0)
    arrays = GroundTruth.of_coco(ground_truth)
    for entries in (found, []):
        table = PredictionTable.of_coco(entries, arrays)
        coco_json.write_predictions(tmp_path / "predictions.json", table, arrays, rows_at_once=2)
        assert json.loads((tmp_path / "predictions.json").read_text()) == entries
