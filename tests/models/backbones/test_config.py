"""Configuration of the backbones: mistakes are named, and timm is not needed to read one."""

from __future__ import annotations

import sys

import pytest

from codetr.core.errors import UserError
from codetr.models.detector import build_detector
from codetr.zoo.detectors import (
    backbone_name,
    co_deformable_detr_r50,
    co_dino_5scale_r50,
    co_dino_vit_large_coco,
)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("backbone.attention_heads=12", "channels must be a multiple of four times 12 heads"),
        ("backbone.depth=12", "global_blocks must be ascending blocks below 12"),
        ("backbone.global_blocks=[3,3]", "without duplicates"),
        ("backbone.canvas=1000", "canvas must be a multiple of 16"),
        ("backbone.drop_path=1", "drop_path"),
    ],
)
def test_mistakes_in_a_vision_transformer_are_named(assignment: str, message: str) -> None:
    with pytest.raises(UserError, match=f"backbone.*{message}"):
        co_dino_vit_large_coco(80).override([assignment])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("name: resnet50.a1_in1k", "name: String should match"),  # a tag of weights is no part of the architecture
        ("name: convnext_tiny, out_strides: [8, 4]", "out_strides: must be ascending"),
        ("name: convnext_tiny, out_strides: [2]", "out_strides"),
        ("out_strides: [8]", "name: Field required"),
    ],
)
def test_mistakes_in_a_model_of_timm_are_named(settings: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"backbone\.timm\.{message}"):
        co_dino_5scale_r50(80).override([f"backbone={{kind: timm, {settings}}}"])


def test_without_timm_only_building_its_models_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest, such as the registry, has to read the description of a model on any machine."""
    monkeypatch.setitem(sys.modules, "timm", None)
    config = co_deformable_detr_r50(3).override(["backbone={kind: timm, name: convnext_tiny}"])
    assert config.strides == (8, 16, 32, 64)
    assert config.override(["backbone.out_strides=[16]"]).strides == (4, 8, 16, 32, 64)
    assert backbone_name(config.backbone) == "convnext_tiny"
    with pytest.raises(UserError, match=r'pip install .* -e "\.\[timm\]"'):
        build_detector(config)
