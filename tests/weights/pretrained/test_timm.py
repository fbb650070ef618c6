"""Weights of timm's models: complete classifiers load, others are refused, a model folder is read back unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from codetr.core.errors import RunFailed, UserError
from codetr.data.config import PreprocessConfig
from codetr.models.backbones.config import TimmConfig
from codetr.models.backbones.timm_backbone import TimmBackbone
from codetr.models.detector import build_detector
from codetr.weights.model_folder import ModelInfo, load_model, save_model
from codetr.weights.pretrained.load import load_backbone
from tests.support.models.tiny_detector import random_batch, tiny_config

timm: Any = pytest.importorskip("timm")
CONFIG = TimmConfig(name="test_efficientnet", out_strides=(4, 8, 16))


def whole_model(seed: int = 1) -> Any:
    """timm's classifier, with statistics that are not trivial."""
    torch.manual_seed(seed)
    model = timm.create_model(CONFIG.name)
    for name, value in model.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    return model


def test_a_classifier_of_timm_fits(tmp_path: Path) -> None:
    """Its head and its last stage, which the backbone does not have, are left out."""
    whole = whole_model()
    save_file(whole.state_dict(), tmp_path / "model.safetensors")
    backbone = TimmBackbone(CONFIG)
    load_backbone(backbone, str(tmp_path / "model.safetensors"))
    state = {f"model.{name}": value for name, value in whole.state_dict().items()}
    assert all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())


def test_weights_of_another_model_are_refused_with_every_key(tmp_path: Path) -> None:
    """timm itself would leave them out with a line in its log, and layers would start from noise."""
    state = whole_model().state_dict()
    state["blocks.1.9.conv.weight"] = state.pop("conv_stem.weight")
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(UserError) as error:
        load_backbone(TimmBackbone(CONFIG), str(tmp_path / "weights.pth"))
    for part in ("missing: model.conv_stem.weight", "unexpected: model.blocks.1.9.conv.weight"):
        assert part in str(error.value)


def test_a_tag_is_downloaded_by_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    requested, create = [], timm.create_model

    def downloaded(name: str, *, pretrained: bool = False, **settings: Any) -> Any:
        if not pretrained:
            return create(name, **settings)
        requested.append(name)
        return whole_model()

    monkeypatch.setattr(timm, "create_model", downloaded)
    backbone = TimmBackbone(CONFIG)
    load_backbone(backbone, "r160_in1k")
    assert requested == ["test_efficientnet.r160_in1k"]
    assert torch.equal(backbone.state_dict()["model.conv_stem.weight"], whole_model().state_dict()["conv_stem.weight"])


def test_a_download_that_fails_names_the_file_to_fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_network(*names: object, **settings: object) -> None:
        raise FileNotFoundError("no connection")

    backbone = TimmBackbone(CONFIG)
    monkeypatch.setattr(timm, "create_model", no_network)
    file = r"model\.safetensors of https://huggingface\.co/timm/test_efficientnet\.r160_in1k"
    with pytest.raises(RunFailed, match=f"no connection.*{file}"):
        load_backbone(backbone, "r160_in1k")


def test_unknown_tags_list_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'IMAGENET1K_V1'.*r160_in1k"):
        load_backbone(TimmBackbone(CONFIG), "IMAGENET1K_V1")


def test_a_model_folder_comes_back_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = build_detector(tiny_config("co_dino", backbone=CONFIG)).eval()
    names = ("a", "b", "c")
    info = ModelInfo(recipe="tiny", class_names=names, model=detector.config, preprocess=PreprocessConfig())
    save_model(tmp_path, detector.state_dict(), info)
    loaded, read = load_model(tmp_path)
    assert read == info
    batch, _ = random_batch((1,), canvas=(51, 77))
    assert torch.equal(loaded(batch)[0].boxes, detector(batch)[0].boxes)
