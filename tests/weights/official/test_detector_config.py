"""Official configurations: what this package does not support is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codetr.core.errors import UserError
from codetr.models.backbones.config import SwinConfig, ViTConfig
from codetr.models.detector import CoDETR
from codetr.weights.official.detector_config import read_official_config
from codetr.weights.official.key_names import to_official


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("query_head.type", "DETRHead", r"query_head.type is 'DETRHead'.*CoDINOHead"),
        ("backbone.type", "HRNet", "backbone.type is 'HRNet'"),
        ("query_head.mixed_selection", False, "query_head.mixed_selection is False"),
        ("query_head.loss_cls.gamma", 1.5, "query_head.loss_cls.gamma is 1.5"),
        ("query_head.loss_cls.type", "FocalLoss", "loss_cls.type is 'FocalLoss', supported: 'QualityFocalLoss'"),
        ("query_head.transformer.with_coord_feat", True, "with_coord_feat is True"),
        ("query_head.num_classes", "many", "num_classes.*many"),
        ("neck.out_channels", None, "channels"),
        ("mask_head", {"type": "SimpleRefineMaskHead"}, "mask_head and mask_iou_head"),
        ("roi_head.0.mask_head", {"type": "FusedSemanticHead"}, "roi_head.0.mask_head.type is 'FusedSemanticHead'"),
        ("roi_head.0.mask_head", {"conv_out_channels": 32}, "mask_head.type is None, supported: 'FCNMaskHead'"),
        ("query_head.transformer.num_co_heads", 1, "num_co_heads is 1, supported: 2, as the number of auxiliary heads"),
        ("eval_module", "three-stage", "eval_module is 'three-stage', supported: 'detr', 'one-stage', 'two-stage'"),
    ],
)
def test_what_cannot_be_built_is_named(golden: Path, path: str, value: Any, message: str) -> None:
    config = json.loads((golden / "models" / "co_dino_s0" / "config.json").read_text())
    node = config
    *parents, last = path.split(".")
    for parent in parents:
        node = node[int(parent) if isinstance(node, list) else parent]
    node[last] = value
    with pytest.raises(UserError, match=message):
        read_official_config(config)


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("backbone", "patch_size", 14, "backbone.patch_size is 14"),
        ("backbone", "qkv_bias", False, "backbone.qkv_bias is False"),
        ("backbone", "residual_block_indexes", [2], r"backbone.residual_block_indexes is \[2\]"),
        ("backbone", "embed_dim", None, "backbone.embed_dim is None, expected a number"),
        ("neck", "type", "ChannelMapper", "neck.type is 'ChannelMapper', supported: 'SFP'"),
        ("neck", "use_p2", False, "neck.use_p2 is False"),
        ("neck", "num_outs", 4, "neck.num_outs is 4"),
        ("neck", "use_act_checkpoint", True, "neck.use_act_checkpoint is True"),
        ("box", "norm_cfg", None, "bbox_head.norm_cfg.type is None, supported: 'GN'"),
        ("box", "norm_cfg", {"type": "GN", "num_groups": 8}, "norm_cfg.num_groups is 8, supported: 32"),
        ("box", "conv_out_channels", 32, "conv_out_channels is 32, supported: 64"),
    ],
)
def test_what_cannot_be_built_with_a_vision_transformer_is_named(
    golden: Path, part: str, field: str, value: Any, message: str
) -> None:
    config = json.loads((golden / "models" / "co_dino_vit_s0" / "config.json").read_text())
    (config["roi_head"][0]["bbox_head"] if part == "box" else config[part])[field] = value
    with pytest.raises(UserError, match=message):
        read_official_config(config)


def test_window_blocks_that_do_not_exist_are_passed_over(golden: Path) -> None:
    """The published COCO configurations name blocks 24 to 26 of 24."""
    config = json.loads((golden / "models" / "co_dino_vit_s0" / "config.json").read_text())
    config["backbone"]["window_block_indexes"] = [0, 2, 3, 4]
    backbone = read_official_config(config).backbone
    assert isinstance(backbone, ViTConfig)
    assert backbone.global_blocks == (1,)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("backbone.ape", True, "backbone.ape is True"),
        ("backbone.patch_norm", False, "backbone.patch_norm is False"),
        ("backbone.qk_scale", 0.5, "backbone.qk_scale is 0.5"),
        ("backbone.out_indices", [1, 2, 3], "neck.num_outs is 5, supported: 4, as backbone.out_indices"),
        ("backbone.num_heads", [3, 2, 4, 8], "16 channels, not a multiple of its 3 attention_heads"),
        ("neck.act_cfg", {"type": "ReLU"}, "neck.act_cfg"),
    ],
)
def test_what_cannot_be_built_of_a_swin_transformer_is_named(golden: Path, path: str, value: Any, message: str) -> None:
    config = json.loads((golden / "models" / "co_dino_swin_s0" / "config.json").read_text())
    part, field = path.split(".")
    config[part][field] = value
    with pytest.raises(UserError, match=message):
        read_official_config(config)


@pytest.mark.parametrize(("official", "stages"), [(-1, -1), (0, 0), (1, 0), (2, 1), (4, 3)])
def test_frozen_stages_of_a_swin_transformer(golden: Path, official: int, stages: int) -> None:
    """There 1 freezes the patch embedding alone, as 0 does."""
    config = json.loads((golden / "models" / "co_dino_swin_s0" / "config.json").read_text())
    config["backbone"]["frozen_stages"] = official
    backbone = read_official_config(config).backbone
    assert isinstance(backbone, SwinConfig)
    assert backbone.frozen_stages == stages


def test_auxiliary_heads_that_an_official_configuration_leaves_out(golden: Path) -> None:
    config = json.loads((golden / "models" / "co_dino_s0" / "config.json").read_text())
    for part in ("roi_head", "rpn_head"):
        del config[part]
    del config["train_cfg"][1], config["test_cfg"][1]
    config["query_head"]["transformer"]["num_co_heads"] = 1
    read = read_official_config(config)
    assert read.auxiliary_heads == ("atss",)
    assert read.atss is not None
    assert read.atss.max_detections == 12
    assert not any("aux_pos_trans.1" in name for name in to_official(CoDETR(read)))


@pytest.mark.parametrize(("module", "head"), [("detr", "query"), ("one-stage", "atss"), ("two-stage", "roi")])
def test_the_head_that_detects_is_read(golden: Path, module: str, head: str) -> None:
    config = json.loads((golden / "models" / "co_deformable_mask_s0" / "config.json").read_text())
    assert read_official_config(config).detect_head == "query"
    assert read_official_config({**config, "eval_module": module}).detect_head == head
