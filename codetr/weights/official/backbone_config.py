"""Backbone and neck of an official (mmdetection-style) configuration."""

from __future__ import annotations

from typing import Any

from codetr.core.bounds import MAX_LAYERS
from codetr.models.backbones.config import PATCH_SIZE, TimmConfig
from codetr.models.config import DetectorConfig
from codetr.weights.official.config_reader import REQUIRED, ConfigReader, Only, always, only

# Settings of each type of backbone that are constants in this package.
_RESNET: dict[str, Only] = {
    "in_channels": always(3),
    "stem_channels": always(None),
    "num_stages": always(4),
    "strides": always([1, 2, 2, 2]),
    "dilations": always([1, 1, 1, 1]),
    "style": always("pytorch"),
    "deep_stem": always(False),
    "avg_down": always(False),
    "conv_cfg": always(None),
    "norm_cfg.type": always("BN"),
    "norm_cfg.requires_grad": only(False, default=True),
    "norm_eval": always(True),
    "dcn": always(None),
    "stage_with_dcn": always([False] * 4),
    "plugins": always(None),
}
_SWIN: dict[str, Only] = {
    "patch_size": always(4),
    "in_chans": always(3),
    "mlp_ratio": always(4.0),
    "qkv_bias": always(True),
    "qk_scale": always(None),
    "drop_rate": always(0.0),
    "attn_drop_rate": always(0.0),
    "ape": always(False),
    "patch_norm": always(True),
}
_VIT: dict[str, Only] = {
    "patch_size": always(PATCH_SIZE),
    "in_chans": always(3),
    "qkv_bias": always(True),
    "use_abs_pos": always(True),
    "use_rel_pos": always(False),
    "rope": always(True),
    "pt_hw_seq_len": always(16),
    "intp_freq": always(True),
    "residual_block_indexes": always([]),
    "pretrain_use_cls_token": always(True),
    "out_feature": always("last_feat"),
}

_CHANNEL_MAPPER: dict[str, Only] = {
    "type": only("ChannelMapper"),
    "kernel_size": only(1, default=3),
    "conv_cfg": always(None),
    "norm_cfg.type": only("GN"),
    # The official detector has 32 groups in the normalisations outside the neck.
    "norm_cfg.num_groups": only(32),
    "norm_cfg.requires_grad": always(True),
    "act_cfg": only(None, default={"type": "ReLU"}),
}
_PYRAMID: dict[str, Only] = {
    "type": only("SFP"),
    "num_outs": only(5),
    "use_p2": only(True, default=False),
    "use_act_checkpoint": always(False),
}


def read_backbone(model: ConfigReader) -> dict[str, Any] | None:
    """Read the values of a `BackboneConfig`, None for a type that this package does not have.

    Args:
        model: configuration of the detector, which notes what cannot be built.
    """
    kind, backbone = model.get("backbone.type", ""), model.at("backbone")
    if kind not in _READERS:
        model.faults.append(f"{backbone.path}.type is {kind!r}, supported: {', '.join(map(repr, _READERS))}")
        return None
    return _READERS[kind](backbone)


def require_neck(model: ConfigReader, config: DetectorConfig) -> None:
    """Check that the neck is the one that this package builds for a detector with this configuration."""
    assert not isinstance(config.backbone, TimmConfig)
    channels = config.backbone.out_channels
    constants = dict(_PYRAMID)
    if config.backbone.kind != "vit":
        levels = only(len(config.strides), default=len(channels), like=f"{model.at('backbone').path}.out_indices")
        constants = _CHANNEL_MAPPER | {"num_outs": levels}
    model.at("neck").require(constants | {"in_channels": only(channels, like="the maps of the backbone")})


def _resnet(backbone: ConfigReader) -> dict[str, Any]:
    backbone.require(_RESNET)
    backbone.pass_over({"zero_init_residual": "initial weights, which those of the checkpoint or of a recipe replace"})
    fields = {
        "depth": ("depth", REQUIRED),
        "base_width": ("base_channels", 64),
        "out_stages": ("out_indices", [0, 1, 2, 3]),
        "frozen_stages": ("frozen_stages", -1),
        "checkpointing": ("with_cp", False),
    }
    return {"kind": "resnet"} | backbone.read("backbone", fields)


def _swin(backbone: ConfigReader) -> dict[str, Any]:
    backbone.require(_SWIN)
    backbone.pass_over({"pretrain_img_size": "size of the absolute position embedding, which is not used (ape)"})
    fields = {
        "width": ("embed_dim", 96),
        "depths": ("depths", [2, 2, 6, 2]),
        "attention_heads": ("num_heads", [3, 6, 12, 24]),
        "window_size": ("window_size", 7),
        "out_stages": ("out_indices", [0, 1, 2, 3]),
        "drop_path": ("drop_path_rate", 0.2),
        "frozen_stages": ("frozen_stages", -1),
        "checkpointing": ("use_checkpoint", False),
    }
    values = {"kind": "swin"} | backbone.read("backbone", fields)
    # In the official code 1 freezes no more than 0 does; the first stage is frozen from 2 on.
    frozen = values["frozen_stages"]
    values["frozen_stages"] = frozen - 1 if isinstance(frozen, int) and frozen > 0 else frozen
    return values


def _vit(backbone: ConfigReader) -> dict[str, Any]:
    backbone.require(_VIT)
    backbone.pass_over({"xattn": "another implementation of the same attention"})
    fields = {
        "channels": ("embed_dim", 768),
        "depth": ("depth", 12),
        "attention_heads": ("num_heads", 12),
        "feedforward_channels": ("mlp_ratio", 8 / 3),
        "window_size": ("window_size", 0),
        "global_blocks": ("window_block_indexes", []),
        "pretrained_grid": ("pretrain_img_size", 224),
        "drop_path": ("drop_path_rate", 0.0),
        "checkpointing": ("use_act_checkpoint", False),
    }
    values = {"kind": "vit"} | backbone.read("backbone", fields)
    if backbone.get("use_lsj", False):
        values |= backbone.read("backbone", {"canvas": ("img_size", 1024)})
    else:
        backbone.pass_over({"img_size": "side of a fixed canvas, which there is only with use_lsj"})
    backbone.require_multiple("pretrain_img_size", PATCH_SIZE, like="the patches")
    if backbone.faults or not isinstance(values["depth"], int) or values["depth"] > MAX_LAYERS:
        return values
    # The published lists contain blocks beyond the last one.
    windowed = values["global_blocks"]
    values["global_blocks"] = [block for block in range(values["depth"]) if block not in windowed]
    values["feedforward_channels"] = int(values["channels"] * values["feedforward_channels"])
    values["pretrained_grid"] //= PATCH_SIZE
    return values


_READERS = {"ResNet": _resnet, "SwinTransformerV1": _swin, "ViT": _vit}
