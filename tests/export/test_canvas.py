"""Valid canvas sizes, and padding."""

from __future__ import annotations

import torch

from codetr.export.canvas import CanvasRule
from codetr.models.backbones.config import ViTConfig
from codetr.models.config import CoDeformableHeadConfig, CoDINOHeadConfig, DetectorConfig


def test_levels_have_whole_cells_and_enough_of_them() -> None:
    """A program selects the same number of queries on every canvas, and a smaller canvas has too few cells."""
    many = DetectorConfig(num_classes=80, query=CoDINOHeadConfig())
    assert CanvasRule.of(many) == CanvasRule(multiple=64, minimum=3 * 64 + 1)  # 85 tokens for 64 by 64, 900 queries
    few = DetectorConfig(num_classes=80, query=CoDeformableHeadConfig())
    assert CanvasRule.of(few) == CanvasRule(multiple=64, minimum=65)
    dense = DetectorConfig(num_classes=80, query=CoDeformableHeadConfig(), detect_head="roi")
    assert CanvasRule.of(dense) == CanvasRule(multiple=128, minimum=129)


def test_a_backbone_for_one_canvas_has_one() -> None:
    config = DetectorConfig(num_classes=80, backbone=ViTConfig(canvas=1536), query=CoDINOHeadConfig())
    rule = CanvasRule.of(config)
    assert (rule.fixed, rule.minimum) == (1536, 1536)
    images = torch.ones(1, 3, 1536, 1536)
    assert rule.pad(images) is images


def test_padding_is_zero_and_below_and_right() -> None:
    padded = CanvasRule(multiple=64, minimum=65).pad(torch.ones(2, 3, 65, 128))
    assert padded.shape == (2, 3, 128, 128)
    assert padded[:, :, :65].eq(1).all()
    assert padded[:, :, 65:].eq(0).all()
