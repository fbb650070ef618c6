"""The weights that training starts from: a backbone's, or those of a detector to fine-tune."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from codetr.core.errors import UserError
from codetr.core.manifest import Manifest
from codetr.models.detector import build_detector
from codetr.steps.train import TrainConfig, train
from codetr.training.config import OptimizerConfig, TrainingConfig
from codetr.weights.model_folder import ModelInfo, save_model
from tests.support.training.runs import RECIPE, SHORT, started, wait_for_step, weights
from tests.support.training.tiny_training import tiny_config


def test_the_backbone_starts_from_its_weights_and_they_are_lineage(dataset: Path, tmp_path: Path) -> None:
    """Otherwise training would start from random weights, and the manifest would not show it."""
    torch.manual_seed(7)
    given = build_detector(RECIPE.model).backbone.state_dict()
    save_file(given, tmp_path / "backbone.safetensors")
    training = TrainingConfig(epochs=1, validate_every=0, optimizer=OptimizerConfig(lr_multipliers={"backbone": 0.0}))
    update = {"backbone_weights": str(tmp_path / "backbone.safetensors"), "training": training}
    config = TrainConfig(recipe=RECIPE.model_copy(update=update))
    manifest = train(config, dataset, tmp_path / "model", tmp_path / "checkpoints")
    state = load_file(tmp_path / "model" / "model.safetensors")
    assert all(torch.equal(state[f"backbone.{name}"], value) for name, value in given.items())
    assert set(manifest.inputs) == {"dataset", "backbone"}


def test_backbone_weights_that_do_not_exist_are_the_users_error(dataset: Path, tmp_path: Path) -> None:
    config = TrainConfig(recipe=RECIPE.model_copy(update={"backbone_weights": str(tmp_path / "none.pth")}))
    with pytest.raises(UserError, match=r"none\.pth"):
        train(config, dataset, tmp_path / "model", tmp_path / "checkpoints")
    assert not (tmp_path / "checkpoints").exists()


def other_model(folder: Path, names: tuple[str, ...]) -> Path:
    """A detector of the recipe's architecture that knows other classes, as `train` publishes one."""
    torch.manual_seed(7)
    model = RECIPE.model.with_classes(len(names))
    folder.mkdir()
    info = ModelInfo(recipe="test", class_names=names, model=model, preprocess=RECIPE.preprocess)
    save_model(folder, build_detector(model).state_dict(), info)
    Manifest.of(folder, "model").write(folder)
    return folder


def test_fine_tuning_starts_from_a_detector_which_is_lineage(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Shared classes keep their rows; weights of the backbone are not asked for."""
    caplog.set_level("INFO", logger="codetr")
    names = json.loads((dataset / "classes.json").read_text())["names"]
    other = other_model(tmp_path / "other", ("zebra", names[1], names[0], "yak"))
    frozen = TrainingConfig(epochs=1, validate_every=0, optimizer=OptimizerConfig(lr_multipliers={"": 0.0}))
    update = {"init_from": str(other), "backbone_weights": "not-there.pth", "training": frozen}
    manifest = train(
        TrainConfig(recipe=RECIPE.model_copy(update=update)), dataset, tmp_path / "model", tmp_path / "checkpoints"
    )
    given, state = load_file(other / "model.safetensors"), load_file(tmp_path / "model" / "model.safetensors")
    assert torch.equal(state["encoder.level_embeds"], given["encoder.level_embeds"])
    assert torch.equal(state["roi_head.deltas.weight"][:4], given["roi_head.deltas.weight"][8:12])
    assert torch.equal(state["atss_head.classifier.weight"][1], given["atss_head.classifier.weight"][1])
    assert manifest.inputs["init_from"] == Manifest.read(other, "model").digest
    assert set(manifest.inputs) == {"dataset", "init_from"}
    start = json.loads((tmp_path / "model" / "summary.json").read_text())["init_from"]
    assert start["matched"] == names[:2]
    assert start["reinitialised"] == names[2:]
    assert start["dropped"] == ["zebra", "yak"]
    assert f"classes re-initialised: {len(names) - 2} ({names[2]}" in caplog.text


def test_a_fine_tuning_that_was_killed_ends_with_the_same_bits_and_only_from_the_same_weights(
    dataset: Path, tmp_path: Path
) -> None:
    """The weights it starts from are part of what the run is."""
    names = json.loads((dataset / "classes.json").read_text())["names"]
    update: dict[str, Any] = {
        "init_from": str(other_model(tmp_path / "other", (names[0], "yak"))),
        "training": RECIPE.training.model_copy(update={**SHORT, "epochs": 2}),
    }
    config = TrainConfig(recipe=RECIPE.model_copy(update=update))
    train(config, dataset, tmp_path / "whole", tmp_path / "undisturbed")
    with started(tmp_path, dataset, **update) as process:
        wait_for_step(tmp_path, 5, process)
        process.kill()
    shutil.move(tmp_path / "other", tmp_path / "away")
    other_model(tmp_path / "other", ("yak", names[0]))
    with pytest.raises(UserError, match=r"unfinished run of another configuration \(inputs\.init_from: 'sha256"):
        train(config, dataset, tmp_path / "model", tmp_path / "checkpoints")
    shutil.rmtree(tmp_path / "other")
    shutil.move(tmp_path / "away", tmp_path / "other")
    train(config, dataset, tmp_path / "model", tmp_path / "checkpoints")
    assert weights(tmp_path / "model") == weights(tmp_path / "whole")


def test_weights_to_start_from_that_do_not_exist_or_fit_are_the_users_error(dataset: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(build_detector(tiny_config("co_deformable")).state_dict(), tmp_path / "x.safetensors")
    for source, said in (("none", r"init_from: .*none: there is no such file"), ("x.safetensors", "keys do not fit")):
        config = TrainConfig(recipe=RECIPE.model_copy(update={"init_from": str(tmp_path / source)}))
        with pytest.raises(UserError, match=said):
            train(config, dataset, tmp_path / "model", tmp_path / "checkpoints")
    assert not (tmp_path / "checkpoints").exists()
