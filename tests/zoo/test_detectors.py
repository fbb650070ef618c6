"""Detectors have the settings of the official configurations (tests/golden/official_models.json)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from codetr import zoo
from codetr.weights.official.detector_config import read_official_config
from tests.support.paths import ROOT

GOLDEN = ROOT / "tests" / "golden"
MODELS: dict[str, Any] = json.loads((GOLDEN / "official_models.json").read_text())


@pytest.mark.parametrize("name", MODELS)
def test_detectors_are_the_official_ones(name: str) -> None:
    """Sizes show in a checkpoint's keys; drop path, denoising, samplers, thresholds and loss weights do not."""
    official, ours = read_official_config(MODELS[name]), zoo.recipe(name).model
    if name == "co_deformable_detr_mask_r50_1x_coco":
        # The official code selects the RoI head, whose detections have masks, on the command line of the test.
        assert (official.detect_head, ours.detect_head) == ("query", "roi")
        official = official.model_copy(update={"detect_head": "roi"})
    assert ours == official
