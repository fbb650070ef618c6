"""Detectors of the published sizes have exactly the parameters of the published checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from codetr.models.config import (
    DetectorConfig,
    co_deformable_detr_mask_r50,
    co_deformable_detr_r50,
    co_dino_5scale_r50,
)
from codetr.models.detector import CoDETR
from codetr.models.presets_vit import (
    co_dino_vit_large_coco,
    co_dino_vit_large_coco_instance,
    co_dino_vit_large_lvis,
    co_dino_vit_large_lvis_instance,
)
from codetr.weights.official import to_official

PUBLISHED = [
    ("co_deformable_detr_r50_1x_coco", co_deformable_detr_r50(80), 65_129_894),
    ("co_deformable_detr_mask_r50_1x_coco", co_deformable_detr_mask_r50(80), 67_773_174),
    ("co_dino_5scale_r50_1x_coco", co_dino_5scale_r50(80), 65_204_005),
    ("co_dino_5scale_r50_1x_lvis", co_dino_5scale_r50(1203), 75_855_660),
    ("co_dino_5scale_vit_large_coco", co_dino_vit_large_coco(80), 365_367_657),
    ("co_dino_5scale_vit_large_coco_instance", co_dino_vit_large_coco_instance(80), 384_026_919),
    ("co_dino_5scale_lsj_vit_large_lvis", co_dino_vit_large_lvis(1203), 374_877_868),
    ("co_dino_5scale_lsj_vit_large_lvis_instance", co_dino_vit_large_lvis_instance(1203), 395_194_678),
]


@pytest.mark.parametrize(("state_keys", "config", "parameters"), PUBLISHED, ids=[name for name, *_ in PUBLISHED])
def test_keys_and_shapes(golden: Path, state_keys: str, config: DetectorConfig, parameters: int) -> None:
    expected = json.loads((golden / "state_keys" / f"{state_keys}.json").read_text())
    with torch.device("meta"):
        detector = CoDETR(config)
    assert {name: list(value.shape) for name, value in to_official(detector).items()} == expected
    assert sum(parameter.numel() for parameter in detector.parameters()) == parameters
