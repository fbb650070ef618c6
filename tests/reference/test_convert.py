"""Official checkpoints through `codetr convert`, for every model there is: detections, and the weights back again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from codetr.cli import main
from codetr.core.files import sha256_file
from codetr.core.manifest import Manifest
from codetr.weights.keys import non_persistent_buffers
from codetr.weights.model_folder import load_model
from codetr.weights.official.key_names import official_name
from tests.reference.golden_case import GoldenCase
from tests.support.models.official_files import write_checkpoint


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert not ended.value.code


@pytest.fixture(scope="session")
def case(golden: Path, case_name: str) -> GoldenCase:
    return GoldenCase(golden / "models" / case_name)


@pytest.fixture(scope="session")
def checkpoint(case: GoldenCase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As training writes it: averages and optimiser beside the weights."""
    path = tmp_path_factory.mktemp("official") / "epoch_12.pth"
    return write_checkpoint(path, case.arrays("state_dict"), averages=True, optimizer=True)


@pytest.fixture(scope="session")
def model(case: GoldenCase, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("converted") / "model"
    config = case.folder / "config.json"
    canvas = [] if case.json("config").get("with_attn_mask", True) else ["--set", "preprocess.canvas=128"]
    run("convert", checkpoint, "--config", config, "-o", model, *canvas)
    return model


def test_detections_are_the_official_ones(case: GoldenCase, model: Path) -> None:
    detector, _ = load_model(model)
    expected = case.arrays("eval")
    for image, found in enumerate(detector.detect(case.batch())):
        assert found.labels.tolist() == expected[f"detr_labels{image}"].tolist()
        torch.testing.assert_close(found.scores, expected[f"detr_scores{image}"], rtol=0, atol=1e-4)
        torch.testing.assert_close(found.boxes, expected[f"detr_boxes{image}"], rtol=0, atol=1e-2)


def test_every_key_is_accounted_for(case: GoldenCase, model: Path, checkpoint: Path) -> None:
    """Nothing of the file may vanish without a word."""
    keys = json.loads((model / "summary.json").read_text())["keys"]
    content = torch.load(checkpoint, weights_only=True)
    assert {*keys["converted"], *keys["constants"], *keys["averages"]} == content["state_dict"].keys()
    assert keys["left_out"] == ["optimizer", "meta.epoch", "meta.mmdet_version"]
    detector, info = load_model(model)
    assert set(keys["converted"].values()) == detector.state_dict().keys()
    assert info.class_names == content["meta"]["CLASSES"]
    assert Manifest.read(model, "model", verify=True).inputs == {"checkpoint": sha256_file(checkpoint)}


def test_weights_come_back_bit_by_bit(case: GoldenCase, model: Path, tmp_path: Path) -> None:
    """The file contains its configuration: no option is needed to read it again."""
    run("convert", "--to-official", model, "-o", tmp_path / "back.pth")
    content = torch.load(tmp_path / "back.pth", weights_only=True)
    written, weights = content["state_dict"], case.arrays("state_dict")
    detector, info = load_model(model)
    computed = {official_name(name, detector.config) for name in non_persistent_buffers(detector)}
    assert written.keys() == weights.keys() | computed
    assert all(torch.equal(written[name], value) for name, value in weights.items())
    assert content["meta"]["CLASSES"] == info.class_names
    run("convert", tmp_path / "back.pth", "-o", tmp_path / "again")
    for name in ("model.safetensors", "model.json"):
        assert sha256_file(tmp_path / "again" / name) == sha256_file(model / name)
