"""Detectors of the published sizes have exactly the parameters of the published checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from codetr.models.config import DetectorConfig
from codetr.models.detector import CoDETR
from codetr.models.presets import (
    co_deformable_detr,
    co_deformable_detr_r50,
    co_deformable_detr_swin_large_900q,
    co_dino_5scale_lsj_swin_large_o365tolvis,
    co_dino_5scale_r50,
    co_dino_5scale_swin_large,
    co_dino_5scale_swin_large_o365tococo,
    co_dino_vit_large_coco,
    co_dino_vit_large_lvis,
    swin_base,
    swin_large,
    swin_small,
    swin_tiny,
)
from codetr.weights.official import to_official

PUBLISHED = [
    ("co_deformable_detr_r50_1x_coco", co_deformable_detr_r50(80), 65_129_894),
    ("co_dino_5scale_r50_1x_coco", co_dino_5scale_r50(80), 65_204_005),
    ("co_dino_5scale_r50_1x_lvis", co_dino_5scale_r50(1203), 75_855_660),
    ("co_dino_5scale_vit_large_coco", co_dino_vit_large_coco(80), 365_367_657),
    ("co_dino_5scale_lsj_vit_large_lvis", co_dino_vit_large_lvis(1203), 374_877_868),
    ("co_deformable_detr_swin_tiny_1x_coco", co_deformable_detr(80, swin_tiny(drop_path=0.2)), 65_619_808),
    ("co_deformable_detr_swin_tiny_3x_coco", co_deformable_detr(80, swin_tiny(drop_path=0.3)), 65_619_808),
    ("co_deformable_detr_swin_small_1x_coco", co_deformable_detr(80, swin_small(drop_path=0.2)), 86_937_712),
    ("co_deformable_detr_swin_small_3x_coco", co_deformable_detr(80, swin_small(drop_path=0.4)), 86_937_712),
    ("co_deformable_detr_swin_base_1x_coco", co_deformable_detr(80, swin_base(drop_path=0.2)), 125_683_934),
    ("co_deformable_detr_swin_base_3x_coco", co_deformable_detr(80, swin_base(drop_path=0.4)), 125_683_934),
    ("co_deformable_detr_swin_large_1x_coco", co_deformable_detr(80, swin_large(drop_path=0.3)), 235_413_658),
    ("co_deformable_detr_swin_large_900q_3x_coco", co_deformable_detr_swin_large_900q(80), 235_567_258),
    ("co_dino_5scale_swin_large_1x_coco", co_dino_5scale_swin_large(80, drop_path=0.3), 235_471_769),
    ("co_dino_5scale_swin_large_2x_coco", co_dino_5scale_swin_large(80, drop_path=0.5), 235_471_769),
    ("co_dino_5scale_swin_large_3x_coco", co_dino_5scale_swin_large(80, drop_path=0.6), 235_471_769),
    ("co_dino_5scale_swin_large_16e_o365tococo", co_dino_5scale_swin_large_o365tococo(80), 235_471_769),
    ("co_dino_5scale_lsj_swin_large_1x_coco", co_dino_5scale_swin_large(80, drop_path=0.3, lsj=True), 235_471_769),
    ("co_dino_5scale_lsj_swin_large_2x_coco", co_dino_5scale_swin_large(80, drop_path=0.5, lsj=True), 235_471_769),
    ("co_dino_5scale_lsj_swin_large_3x_coco", co_dino_5scale_swin_large(80, drop_path=0.5, lsj=True), 235_471_769),
    ("co_dino_5scale_lsj_swin_large_3x_lvis", co_dino_5scale_swin_large(1203, drop_path=0.3, lsj=True), 246_123_424),
    ("co_dino_5scale_lsj_swin_large_16e_o365tolvis", co_dino_5scale_lsj_swin_large_o365tolvis(1203), 246_123_424),
]


@pytest.mark.parametrize(("state_keys", "config", "parameters"), PUBLISHED, ids=[name for name, *_ in PUBLISHED])
def test_keys_and_shapes(golden: Path, state_keys: str, config: DetectorConfig, parameters: int) -> None:
    expected = json.loads((golden / "state_keys" / f"{state_keys}.json").read_text())
    with torch.device("meta"):
        detector = CoDETR(config)
    written = {name: list(value.shape) for name, value in to_official(detector).items()}
    assert written == expected
    assert list(written) == list(expected), "in the official order"
    assert sum(parameter.numel() for parameter in detector.parameters()) == parameters
