"""Recipes have the settings of the official configurations (tests/golden/official_settings.json)."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch

from codetr import zoo
from codetr.data.config import AugmentConfig, JitterConfig, RepeatFactorConfig, ShuffleConfig
from codetr.models.detector import build_detector
from tests.support.paths import ROOT

GOLDEN = ROOT / "tests" / "golden"
SETTINGS: dict[str, Any] = json.loads((GOLDEN / "official_settings.json").read_text())
IMAGES_PER_STEP = 16


@pytest.mark.parametrize("name", SETTINGS)
def test_optimisation_is_the_official_one(name: str) -> None:
    """Training a published recipe would not be the published training."""
    expected, recipe = SETTINGS[name], zoo.recipe(name)
    training, optimizer = recipe.training, recipe.training.optimizer
    assert training.epochs == expected["epochs"]
    assert (training.publish, training.patience) == ("last", None), "published figures are those of the last epoch"
    schedule = training.schedule.resolved(training.epochs)
    assert list(schedule.milestones) == expected["step"]
    assert schedule.warmup_iterations == expected["warmup"][0]
    assert not schedule.warmup_iterations or schedule.warmup_ratio == expected["warmup"][1]
    assert (optimizer.lr, optimizer.weight_decay) == (expected["lr"], expected["weight_decay"])
    multipliers = {part: values["lr_mult"] for part, values in expected["paramwise"].get("custom_keys", {}).items()}
    assert optimizer.lr_multipliers == multipliers
    assert optimizer.layer_decay == expected["paramwise"].get("layer_decay_rate")
    # The two ViT configurations for LVIS leave clipping out, by mistake: their training does not start.
    assert training.clip_norm == (expected["clip"] or 0.1)
    assert [training.ema.momentum] * bool(training.ema) == expected["ema"] if training.ema else not expected["ema"]
    assert recipe.loader.batch_size == expected["samples_per_gpu"]
    assert IMAGES_PER_STEP % expected["samples_per_gpu"] == 0
    assert optimizer.reference_batch == IMAGES_PER_STEP
    threshold = expected["oversample"]
    assert recipe.loader.sampling == (RepeatFactorConfig(threshold=threshold) if threshold else ShuffleConfig())


@pytest.mark.parametrize("name", SETTINGS)
def test_images_are_prepared_as_officially(name: str) -> None:
    """Weights would be measured, and trained, on images of other sizes than published."""
    expected, recipe = SETTINGS[name], zoo.recipe(name)
    augment, preprocess = recipe.augment, recipe.preprocess
    if "canvas" in expected:
        assert isinstance(augment, JitterConfig)
        assert [augment.canvas] * 2 == expected["canvas"] == expected["test_scale"] == expected["test_pad"]["size"]
        assert preprocess.canvas == augment.canvas
        assert list(augment.scale) == expected["ratio"]
        assert augment.max_pasted == expected["max_pasted"]
        assert not recipe.model.padding_mask
    else:
        assert isinstance(augment, AugmentConfig)
        assert augment.crop is not None
        assert list(augment.short_sides) == expected["short_sides"]
        assert augment.long_side == expected["long_side"]
        crop_scales = [[side, augment.crop.long_side] for side in augment.crop.short_sides]
        assert crop_scales == expected["crop"]["scales"]
        assert list(augment.crop.size) == expected["crop"]["size"]
        assert [preprocess.long_side, preprocess.short_side] == expected["test_scale"]
        assert preprocess.pad_divisor == expected["test_pad"]["size_divisor"] == expected["train_pad"]
        assert recipe.model.padding_mask
    assert augment.flip_probability == 0.5


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo_knows_its_recipes(name: str) -> None:
    """`codetr zoo` would show another recipe's size, or a recipe would call itself something else."""
    recipe = zoo.recipe(name)
    assert recipe.name == name
    with torch.device("meta"):
        detector = build_detector(recipe.model)
    assert sum(parameter.numel() for parameter in detector.parameters()) == zoo.ENTRIES[name].parameters


def test_the_zoo_page_lists_every_recipe() -> None:
    """A reader would not find it, or find one that is gone."""
    page = (ROOT / "docs" / "reference" / "zoo.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` ", page, re.MULTILINE)
    assert sorted([*listed, "tiny"]) == sorted(zoo.names())
