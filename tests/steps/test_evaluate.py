"""The evaluate step on a real dataset and a real, if untrained, detector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codetr.core.errors import UserError
from codetr.core.manifest import Manifest
from codetr.data.config import SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.evaluation.collect import predict_split
from codetr.evaluation.evaluate import evaluate_predictions
from codetr.evaluation.metrics.coco import evaluate_coco
from codetr.evaluation.metrics.lvis import evaluate_lvis
from codetr.evaluation.metrics.metric_spec import COCO_METRICS
from codetr.evaluation.report.pictures import draw_picture
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable
from codetr.inference.config import TilesConfig, TTAConfig
from codetr.registry.store import Registry
from codetr.steps import evaluate as step
from codetr.steps.evaluate import EvaluateConfig, evaluate
from codetr.steps.prepare import prepare
from codetr.steps.register import RegisterConfig, register
from tests.support.models.small_models import NAMES, masked, write_dataset, write_model
from tests.support.training.ranks import run_on_ranks

CONFIG = EvaluateConfig(batch_size=2, workers=0, pictures=1)
MORE_VIEWS = {"tta": TTAConfig(scales=(1.0, 0.8)), "tiles": TilesConfig(size=50)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), 5)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def evaluation(dataset: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "evaluation"
    evaluate(CONFIG, model, dataset, output)
    return output


@pytest.fixture(scope="module")
def thorough(dataset: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with tiles and test-time augmentation."""
    output = tmp_path_factory.mktemp("out") / "evaluation"
    evaluate(CONFIG.model_copy(update=MORE_VIEWS), model, dataset, output)
    return output


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_is_complete_and_its_files_agree(evaluation: Path, model: Path, dataset: Path) -> None:
    """The gate, the tracker and the engines read these files; they must agree."""
    manifest = Manifest.read(evaluation, "evaluation", verify=True)
    assert {
        "metrics.json",
        "per_class.json",
        "per_image.json",
        "pr_curve.json",
        "predictions.json",
        "report.html",
        "errors.json",
        "confusion.json",
        "calibration.json",
    } < set(manifest.files)
    assert manifest.inputs == {
        "model": Manifest.read(model, "model").digest,
        "dataset": Manifest.read(dataset, "dataset").digest,
    }
    numbers = json.loads((evaluation / "metrics.json").read_text())
    assert {name: manifest.summary[name] for name in numbers} == numbers
    assert set(COCO_METRICS) < set(numbers)
    assert [entry["name"] for entry in json.loads((evaluation / "per_class.json").read_text())] == list(NAMES)
    assert len(json.loads((evaluation / "per_image.json").read_text())) == 5
    assert len(json.loads((evaluation / "pr_curve.json").read_text())) == 101
    assert sorted(path.suffix for path in (evaluation / "plots").iterdir()) == [".png"] * 4
    assert list((evaluation / "pictures").glob("worst_01_*.jpg"))


def test_the_champion_of_a_registry_is_compared_with(
    evaluation: Path, dataset: Path, model: Path, tmp_path: Path
) -> None:
    """The report says whether the model is better, what the gate will decide, and how old the champion is.

    The manifest says which evaluation it was compared with.
    """
    registry, other = tmp_path / "registry", write_model(tmp_path / "other", **masked())
    first = evaluate(CONFIG, model, dataset, tmp_path / "first", registry)
    assert first.summary["verdict"] == "No champion yet"
    assert "No champion yet" in (tmp_path / "first" / "report.html").read_text()
    assert Manifest.read(evaluation, "evaluation").summary["verdict"] == "Not compared with a champion"
    register(RegisterConfig(), model, tmp_path / "first", registry, tmp_path / "registration")

    second = evaluate(CONFIG, other, dataset, tmp_path / "second", registry)
    assert "the champion v1" in second.summary["verdict"]
    assert second.inputs["champion"] == first.digest
    assert second.summary["verdict"] in (tmp_path / "second" / "report.html").read_text()
    written = json.loads((tmp_path / "second" / "champion.json").read_text())
    assert written["version"] == "v1"
    assert written["boxes"]["summary"][0]["first"]["value"] == pytest.approx(first.summary["AP"])
    assert len(written["images"]) == 5
    # Its own model is not compared with itself: a repeated run gives the same evaluation, and no new version.
    assert evaluate(CONFIG, model, dataset, tmp_path / "again", registry) == first

    elsewhere = evaluate(CONFIG, other, write_dataset(tmp_path / "fewer", 4), tmp_path / "third", registry)
    assert elsewhere.summary["verdict"] == "Not comparable with the champion v1"
    assert "other images or objects" in (tmp_path / "third" / "report.html").read_text()
    assert not (tmp_path / "third" / "champion.json").exists()

    page = " ".join((tmp_path / "second" / "report.html").read_text().split())
    decision = register(RegisterConfig(), other, tmp_path / "second", registry, tmp_path / "decision").summary
    assert f"this model {'passes' if decision['promoted'] else 'is refused'}: {decision['reasons']}." in page
    assert f"v1 was registered on {Registry.open(registry).version('v1').at[:10]} at" in page


def test_a_folder_that_is_no_registry_is_refused_before_anything_is_detected(
    dataset: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="is not a registry"):
        evaluate(CONFIG, model, dataset, tmp_path / "out", model)
    assert not (tmp_path / "out").exists()


def test_the_predictions_give_the_metrics_against_the_original_annotations(evaluation: Path, dataset: Path) -> None:
    """Another program that scores predictions.json against the annotation file must compute the same metrics."""
    annotations = json.loads((dataset.parent / "annotations.json").read_text())
    predictions = json.loads((evaluation / "predictions.json").read_text())
    metrics = evaluate_coco(annotations, predictions)
    assert json.loads((evaluation / "metrics.json").read_text()) == metrics.flat


def test_tiles_and_augmentation_are_measured_and_recorded(evaluation: Path, thorough: Path) -> None:
    """Numbers of another way to infer must not pass for those of the model as it is."""
    plain, more = (json.loads((folder / "predictions.json").read_text()) for folder in (evaluation, thorough))
    assert len(more) > len(plain)
    assert {entry["image_id"] for entry in more} == {entry["image_id"] for entry in plain}
    config = Manifest.read(thorough, "evaluation").config
    assert config["tta"] == {"scales": [1.0, 0.8], "flip": True}
    assert config["tiles"]["size"] == 50
    assert Manifest.read(evaluation, "evaluation").config["tta"] is None


@pytest.mark.parametrize(("expected", "changes"), [("evaluation", {}), ("thorough", MORE_VIEWS)])
def test_processes_do_not_change_a_byte(
    expected: str, changes: dict[str, Any], dataset: Path, model: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Five images in batches of two on two processes: neither the last batch nor the images divide evenly."""
    config = CONFIG.model_copy(update=changes)
    output = tmp_path / "work" / "evaluation"
    script = (
        "from pathlib import Path\n"
        "from codetr.steps.evaluate import EvaluateConfig, evaluate\n"
        f"config = EvaluateConfig.parse({config.model_dump()})\n"
        f"evaluate(config, *map(Path, {[str(model), str(dataset), str(output)]}))\n"
    )
    run_on_ranks(script, 2, tmp_path / "run.py")
    assert contents(output) == contents(request.getfixturevalue(expected))
    assert list(output.parent.iterdir()) == [output], "nothing temporary is left"


def test_the_evaluation_set_is_the_ground_truth_and_nothing_else(
    evaluation: Path, dataset: Path, tmp_path: Path
) -> None:
    """Only models of equal evaluation sets are compared: it must not depend on the model, and must on the boxes."""
    digest = Manifest.read(evaluation, "evaluation").summary["evaluation_set"]
    other_model = write_model(tmp_path / "model2")
    config = CONFIG.model_copy(update={"batch_size": 1})
    again = evaluate(config, other_model, dataset, tmp_path / "again").summary["evaluation_set"]
    assert again == digest
    fewer = write_dataset(tmp_path / "fewer", 4)
    assert evaluate(CONFIG, other_model, fewer, tmp_path / "other").summary["evaluation_set"] != digest


def test_a_federated_dataset_is_measured_by_the_rules_of_lvis(model: Path, tmp_path: Path) -> None:
    """The main metric is LVIS's AP then, and the registry's gate must not compare it with COCO's AP."""
    dataset = write_dataset(tmp_path / "data", 3, federated=True)
    output = tmp_path / "evaluation"
    manifest = evaluate(CONFIG, model, dataset, output)
    annotations = json.loads((dataset.parent / "annotations.json").read_text())
    predictions = json.loads((output / "predictions.json").read_text())
    metrics = evaluate_lvis(annotations, predictions)
    assert json.loads((output / "metrics.json").read_text()) == metrics.flat
    assert {"AP", "APr", "AR@300"} < set(manifest.summary)
    rows = json.loads((output / "per_class.json").read_text())
    assert [(row["frequency"], row["AR@300"]) for row in rows] == [(m.frequency, m.AR) for m in metrics.classes]
    digest = manifest.summary["evaluation_set"]
    for image in annotations["images"]:
        image["neg_category_ids"] = []
    assert _evaluated_on(annotations, dataset.parent / "fewer", model) != digest
    for image in annotations["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    assert _evaluated_on(annotations, dataset.parent / "coco", model) != digest


def test_the_error_analysis_is_tracked(
    dataset: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reviewer who only looks at W&B must see the errors of the report, with the same numbers."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    evaluate(CONFIG, model, dataset, tmp_path / "evaluation")
    (folder,) = (tmp_path / "wandb").glob("offline-run-*/files/media/table")
    tables = {
        path.relative_to(folder).as_posix().split("_")[0]: json.loads(path.read_text())
        for path in folder.rglob("*.table.json")
    }
    errors = json.loads((tmp_path / "evaluation" / "errors.json").read_text())
    assert tables["errors/types"]["data"] == [list(row.values()) for row in errors["types"]]
    assert tables["errors/cost"]["data"] == [[row["type"], row["dAP50"]] for row in errors["types"]]
    assert [row[1] for row in tables["errors/classes"]["data"]] == list(NAMES)
    assert {"classes", "confusion", "calibration/scores", "calibration/classes", "calibration/reliability"} < set(
        tables
    )


def test_an_image_without_lists_is_drawn_by_the_rules_of_its_split(tmp_path: Path) -> None:
    """Its detections of unverified classes take no part in the metrics, and must not be drawn as false positives."""
    dataset = write_dataset(tmp_path / "data", 3, federated=True)
    annotations = json.loads((dataset.parent / "annotations.json").read_text())
    del annotations["images"][0]["neg_category_ids"], annotations["images"][0]["not_exhaustive_category_ids"]
    (dataset.parent / "fewer.json").write_text(json.dumps(annotations))
    source = SourceConfig(annotations=str(dataset.parent / "fewer.json"), images=str(dataset.parent / "images"))
    prepare(PrepareConfig(train=(source,), val=(source,)), tmp_path / "mixed")
    split = Split.open(tmp_path / "mixed", "val")
    truth = GroundTruth.of_split(split)
    image_id, unverified = annotations["images"][0]["id"], annotations["categories"][2]["id"]
    result = {"image_id": image_id, "category_id": unverified, "bbox": [10.0, 10.0, 30.0, 20.0], "score": 0.9}
    predictions = PredictionTable.of_coco([result], truth)
    matches = evaluate_predictions(truth, predictions, masks=False).boxes.matches
    assert len(matches.dt_index) == 0
    record = split.record(split.image_ids.tolist().index(image_id))
    picture = draw_picture(
        np.zeros((record.height, record.width, 3), np.uint8),
        truth.position(image_id),
        truth,
        predictions,
        matches,
        0.5,
        long_side=max(record.height, record.width),
    )
    right_half = np.asarray(picture)[:, -record.width :]
    assert right_half[30, 10:41].any(axis=1).all(), "a dashed box has gaps"


def test_objects_that_lvis_ignores_are_ignored_in_a_prepared_dataset(tmp_path: Path) -> None:
    """The same detections have the same AP by the annotation file and by the dataset that was made of it."""
    dataset = write_dataset(tmp_path / "data", 3, federated=True)
    annotations = json.loads((dataset.parent / "annotations.json").read_text())
    found = [
        {"image_id": entry["image_id"], "category_id": entry["category_id"], "bbox": entry["bbox"], "score": 0.9}
        for entry in annotations["annotations"][1:]
    ]
    whole = evaluate_lvis(annotations, found).summary["AP"]
    annotations["annotations"][0]["ignore"] = 1
    (dataset.parent / "ignoring.json").write_text(json.dumps(annotations))
    source = SourceConfig(annotations=str(dataset.parent / "ignoring.json"), images=str(dataset.parent / "images"))
    prepare(PrepareConfig(train=(source,), val=(source,)), tmp_path / "ignoring")
    by_file = evaluate_lvis(annotations, found).summary
    assert by_file["AP"] != whole
    assert evaluate_lvis(Split.open(tmp_path / "ignoring", "val").to_coco(), found).summary == by_file


def _evaluated_on(annotations: dict[str, Any], folder: Path, model: Path) -> str:
    folder.mkdir()
    (folder / "annotations.json").write_text(json.dumps(annotations))
    source = SourceConfig(annotations=str(folder / "annotations.json"), images=str(folder.parent / "images"))
    prepare(PrepareConfig(train=(source,), val=(source,)), folder / "dataset")
    return evaluate(CONFIG, model, folder / "dataset", folder / "evaluation").summary["evaluation_set"]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("square", "disc", "star"), "the model does not have 'cross'; the dataset does not have 'star'"),
        (("disc", "square", "cross"), "in another order"),
        (("square", "disc", "Cross"), "Did you mean 'Cross'"),
    ],
)
def test_classes_that_differ_are_refused(dataset: Path, tmp_path: Path, names: tuple[str, ...], problem: str) -> None:
    """Labels are positions: with other names or another order every detection would count for another class."""
    other = write_model(tmp_path / "model", names)
    with pytest.raises(UserError, match=problem):
        evaluate(CONFIG, other, dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_split_and_changed_weights_are_refused(dataset: Path, tmp_path: Path) -> None:
    """A manifest that no longer describes its folder would give an evaluation of an unknown model."""
    model = write_model(tmp_path / "model")
    with pytest.raises(UserError, match="no split 'test'"):
        evaluate(EvaluateConfig(split="test"), model, dataset, tmp_path / "out")
    weights = model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(UserError, match="differs from the digest"):
        evaluate(CONFIG, model, dataset, tmp_path / "out")


@pytest.mark.parametrize(("function", "name"), [("code_version", "sources"), ("library_versions", "pillow")])
def test_an_interrupted_evaluation_of_other_code_is_not_resumed(
    dataset: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, name: str
) -> None:
    """Detections of other code, or of another decoder, would be mixed with those of the interrupted run."""
    taken: list[set[int]] = []
    begin = predict_split.begin

    def recording(*given: Any) -> set[int]:
        taken.append(begin(*given))
        return taken[-1]

    monkeypatch.setattr(predict_split, "begin", recording)
    monkeypatch.setattr(step, "evaluate_predictions", lambda *given, **more: (_ for _ in ()).throw(KeyboardInterrupt))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            evaluate(CONFIG, model, dataset, tmp_path / "out")
    present = getattr(step, function)
    monkeypatch.setattr(step, function, lambda *modules: {**present(*modules), name: "another"})
    with pytest.raises(KeyboardInterrupt):
        evaluate(CONFIG, model, dataset, tmp_path / "out")
    assert taken == [set(), {0, 1, 2}, set()]


def test_an_image_that_is_gone_leaves_an_earlier_evaluation_untouched(model: Path, tmp_path: Path) -> None:
    """A failed run must neither publish half a folder nor destroy the last good one."""
    dataset = write_dataset(tmp_path / "data", 3)
    evaluate(CONFIG, model, dataset, tmp_path / "out")
    before = contents(tmp_path / "out")
    (tmp_path / "data/images/2.png").rename(tmp_path / "2.png")
    with pytest.raises(UserError, match=r"2\.png"):
        evaluate(CONFIG, model, dataset, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    # What was detected until then stays beside it, and is gone when the evaluation was finished.
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.unfinished", "2.png", "data", "out"]
    (tmp_path / "2.png").rename(tmp_path / "data/images/2.png")
    evaluate(CONFIG, model, dataset, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]
