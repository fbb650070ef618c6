"""Loading a model by its folder, its version in a registry, or its recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import codetr
from codetr.core.errors import UserError
from codetr.inference.config import TilesConfig, TTAConfig
from codetr.inference.load import build_predictor
from codetr.registry.address import model_folder
from tests.support.models.finder import Finder
from tests.support.models.small_models import NAMES, write_model
from tests.support.registry.registries import write_registry


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model@home") / "model")


def test_folders_and_weights_files_are_models(model: Path) -> None:
    """An "@" in a path that exists does not make it a registry."""
    image = np.zeros((40, 60, 3), np.uint8)
    loaded = codetr.load(model, device="cpu")
    assert loaded.class_names == NAMES
    assert loaded.device.type == "cpu"
    assert not loaded.detector.training
    other = codetr.load(str(model / "model.safetensors"))
    assert np.array_equal(loaded.predict(image, threshold=0).boxes, other.to("cpu").predict(image, threshold=0).boxes)


def test_versions_of_a_registry_are_models(model: Path, tmp_path: Path) -> None:
    registry = write_registry(tmp_path, model)
    for version in ("champion", "v1"):
        assert codetr.load(f"{registry}@{version}").class_names == NAMES
        assert model_folder(f"{registry}@{version}").is_relative_to(registry / "content")
    with pytest.raises(UserError, match="there is no version 'v2'"):
        codetr.load(f"{registry}@v2")
    with pytest.raises(UserError, match="no version is 'previous'"):
        codetr.load(f"{registry}@previous")
    with pytest.raises(UserError, match=r"is a registry, not a model\. Name a version of it, e\.g\. .*@champion"):
        codetr.load(registry)
    with pytest.raises(UserError, match="there is no registry"):
        codetr.load(f"{tmp_path}/nowhere@champion")


def test_a_recipe_is_a_model_that_has_learnt_nothing() -> None:
    """Its detections are meaningless, so the user is warned."""
    with pytest.warns(UserWarning, match="'tiny' is a recipe.*random weights") as caught:
        model = codetr.load("tiny", device="cpu")
    assert caught[0].filename == __file__
    assert len(model.class_names) == 5
    assert model.predict(np.zeros((40, 60, 3), np.uint8), threshold=0).boxes.shape[1] == 4


def test_invalid_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"co_dino_r51: there is no such model.*recipe"):
        codetr.load("co_dino_r51")
    with pytest.raises(UserError, match=r"holds no model\.json"):
        codetr.load(tmp_path)
    (tmp_path / "official.pth").touch()
    with pytest.raises(
        UserError, match=r"official\.pth: is a file, expected a model folder.*`codetr convert .*official"
    ):
        codetr.load(tmp_path / "official.pth")


@pytest.mark.parametrize(
    ("device", "problem"), [("gpu", "'gpu' is not the name of a device"), ("cuda:99", "there is no 'cuda:99'")]
)
def test_a_device_that_is_not_there_is_named(model: Path, device: str, problem: str) -> None:
    with pytest.raises(UserError, match=f"device: {problem}"):
        codetr.load(model, device=device)


def test_wrappers_are_put_around_a_model_by_settings() -> None:
    """With both, tiles are cut from the image and each of them is augmented."""
    finder = Finder()
    assert build_predictor(finder, None, None) is finder
    model = build_predictor(finder, TTAConfig(scales=(1.0,), flip=True), TilesConfig(size=50, overlap=0.1))
    model.predict(np.zeros((50, 80, 3), np.uint8))
    assert [batch.original_sizes for batch in finder.seen] == [[(50, 80)]] * 2 + [[(50, 50)]] * 4
