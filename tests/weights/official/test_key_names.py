"""Official weights and configurations: the whole way in and out, and everything that can be wrong with them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from codetr.core.errors import UserError
from codetr.models.backbones.config import ViTConfig
from codetr.models.detector import CoDETR
from codetr.weights.keys import non_persistent_buffers
from codetr.weights.official.detector_config import read_official_config
from codetr.weights.official.key_names import from_official, load_official, to_official
from tests.reference.golden_case import GoldenCase

CASES = (
    "co_deformable_s0",
    "co_deformable_mask_s0",
    "co_dino_s0",
    "co_dino_swin_s0",
    "co_dino_vit_s0",
    "co_dino_vit_instance_s0",
)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, golden: Path) -> GoldenCase:
    return GoldenCase(golden / "models" / request.param)


def test_weights_come_out_as_they_went_in(case: GoldenCase) -> None:
    weights = case.arrays("state_dict")
    detector = case.detector()
    written = to_official(detector)
    assert written.keys() - non_persistent_buffers(detector).keys() == weights.keys()
    assert all(torch.equal(written[name], value) for name, value in weights.items())


@pytest.mark.parametrize("case", ["co_deformable_s0", "co_dino_s0"], indirect=True)
def test_all_keys_that_do_not_fit_are_named_and_nothing_is_loaded(case: GoldenCase) -> None:
    weights, detector = case.arrays("state_dict"), case.detector()
    before = copy.deepcopy(detector.state_dict())
    del weights["query_head.cls_branches.0.bias"], weights["rpn_head.rpn_cls.weight"]
    weights["ema_neck_weight"] = torch.zeros(1)
    weights["neck.convs.0.gn.weight"] = torch.zeros(3)
    weights["neck.convs.1.gn.weight"] += 1
    with pytest.raises(UserError) as caught:
        load_official(detector, weights)
    message = str(caught.value)
    for part in (
        "4 keys do not fit",
        "missing: query_head.cls_branches.0.bias",
        "missing: rpn_head.rpn_cls.weight",
        "unexpected: ema_neck_weight",
        "neck.convs.0.gn.weight: expected [64], got [3]",
    ):
        assert part in message
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items())


def test_constants_are_written_and_may_be_given_if_they_fit(golden: Path) -> None:
    """Published Swin checkpoints hold them, and the official code wants them; a file without them is complete too."""
    case = GoldenCase(golden / "models" / "co_dino_swin_s0")
    detector = case.detector()
    name = "backbone.layers.1.blocks.0.attn.relative_position_index"
    assert name not in detector.state_dict()
    weights = to_official(detector)
    weights[name] = torch.zeros_like(weights[name])
    load_official(detector, weights)
    assert detector.get_buffer(name).max() == 80  # windows of 5×5 tokens know 9×9 offsets
    weights[name] = torch.zeros(49, 49, dtype=torch.int64)
    with pytest.raises(UserError, match=r"1 keys.*\n.*relative_position_index: expected \[25, 25\], got \[49, 49\]"):
        load_official(detector, weights)


def test_half_precision_weights_are_read(case: GoldenCase) -> None:
    weights = {
        name: value.half() if value.is_floating_point() else value for name, value in case.arrays("state_dict").items()
    }
    detector = from_official(case.json("config"), weights)
    assert {parameter.dtype for parameter in detector.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("query_head.type", "DETRHead", r"query_head.type is 'DETRHead'.*CoDINOHead"),
        ("backbone.type", "HRNet", "backbone.type is 'HRNet'"),
        ("query_head.mixed_selection", False, "query_head.mixed_selection is False"),
        ("query_head.loss_cls.gamma", 1.5, "query_head.loss_cls.gamma is 1.5"),
        ("query_head.loss_cls.type", "FocalLoss", "loss_cls.type is 'FocalLoss', supported: 'QualityFocalLoss'"),
        ("query_head.transformer.with_coord_feat", True, "with_coord_feat is True"),
        ("query_head.use_zero_padding", True, "use_zero_padding is True"),
        ("query_head.num_classes", "many", "num_classes.*many"),
        ("neck.out_channels", None, "channels"),
        ("mask_head", {"type": "SimpleRefineMaskHead"}, "mask_head and mask_iou_head"),
        ("roi_head.0.mask_head", {"type": "FusedSemanticHead"}, "roi_head.mask_head.type is 'FusedSemanticHead'"),
        ("roi_head.0.mask_head", {"conv_out_channels": 32}, "mask_head.conv_out_channels is 32, supported: 64"),
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
        ("backbone", "embed_dim", None, "backbone.*channels"),
        ("neck", "type", "ChannelMapper", "neck.type is 'ChannelMapper', supported: 'SFP'"),
        ("neck", "use_p2", None, "neck.use_p2 is False"),
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
        ("backbone.out_indices", [1, 2, 3], "neck.num_outs is 5, supported with this backbone is 4"),
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
    assert read_official_config(config).backbone.frozen_stages == stages


def test_auxiliary_heads_that_an_official_configuration_leaves_out(golden: Path) -> None:
    config = json.loads((golden / "models" / "co_dino_s0" / "config.json").read_text())
    for part in ("roi_head", "rpn_head"):
        del config[part]
    del config["train_cfg"][1], config["test_cfg"][1]
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
