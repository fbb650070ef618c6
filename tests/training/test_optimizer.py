"""Parameter groups: learning rates and weight decay of the official recipes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from codetr.core.errors import UserError
from codetr.models.detector import build_detector
from codetr.training.config import OptimizerConfig
from codetr.training.optimizer import build_optimizer, layers_above, lr_multiplier, parameter_groups
from codetr.weights.official.key_names import official_name
from codetr.zoo import recipe


@pytest.mark.parametrize(
    "name",
    [
        "co_deformable_detr_r50_1x_coco",
        "co_dino_5scale_lsj_swin_large_3x_coco",
        "co_dino_5scale_lsj_vit_large_lvis",
        "co_dino_5scale_r50_1x_coco",
        "co_dino_5scale_vit_large_coco",
        "co_dino_5scale_vit_large_coco_instance",
    ],
)
def test_every_parameter_gets_the_official_learning_rate_and_weight_decay(golden: Path, name: str) -> None:
    """Otherwise a published recipe would not be trained as published. The models have their full size."""
    expected = json.loads((golden / "optim" / f"{name}.json").read_text())["params"]
    published = recipe(name)
    with torch.device("meta"):
        detector = build_detector(published.model)
    groups = parameter_groups(detector.named_parameters(), published.training.optimizer)
    found = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    official = {official_name(ours, detector.config): p for ours, p in detector.named_parameters()}
    assert official.keys() == expected.keys()
    for parameter, (lr, weight_decay, trainable) in expected.items():
        assert official[parameter].requires_grad == trainable, parameter
        rates = (pytest.approx(lr), pytest.approx(weight_decay)) if trainable else None
        assert found.get(id(official[parameter])) == rates, parameter
    pairs = {(lr, weight_decay) for lr, weight_decay, trainable in expected.values() if trainable}
    assert len(groups) == len(pairs), "equal groups are one"


def test_adamw_has_the_official_betas_and_epsilon(golden: Path) -> None:
    expected = json.loads((golden / "optim" / "co_dino_5scale_r50_1x_coco.json").read_text())
    optimizer = build_optimizer(nn.Linear(2, 2), OptimizerConfig())
    assert list(optimizer.defaults["betas"]) == expected["betas"]
    assert optimizer.defaults["eps"] == expected["eps"]


def test_the_longest_part_of_a_name_counts_alone() -> None:
    """Multipliers that multiplied each other, or depended on their order, would give other rates."""
    multipliers = {"backbone": 0.1, "backbone.layer4": 0.5, "offsets": 0.0}
    assert lr_multiplier("backbone.layer4.0.conv1.weight", multipliers) == 0.5
    assert lr_multiplier("backbone.layer3.offsets", multipliers) == 0.1
    assert lr_multiplier("head.weight", multipliers) == 1.0


@pytest.mark.parametrize(
    ("name", "above"),
    [
        ("backbone.pos_embed", 25),
        ("backbone.patch_embed.proj.weight", 25),
        ("backbone.blocks.0.norm1.weight", 24),
        ("backbone.blocks.23.mlp.w1.weight", 1),
        ("backbone.out_norm.weight", 0),
        ("query_head.decoder.layers.0.self_attention.in_proj_weight", 0),
    ],
)
def test_layers_are_counted_from_the_top(name: str, above: int) -> None:
    assert layers_above(name, 24) == above


def test_layer_decay_needs_blocks() -> None:
    """A ResNet would silently be trained without it."""
    with pytest.raises(UserError, match="no blocks"):
        build_optimizer(nn.Linear(2, 2), OptimizerConfig(layer_decay=0.8))
