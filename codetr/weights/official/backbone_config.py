"""Backbone and neck of an official (mmdetection-style) configuration."""

from __future__ import annotations

from typing import Any

from codetr.models.backbones.config import PATCH_SIZE
from codetr.weights.official.config_reader import ConfigReader

# Settings of each type of backbone and of its neck that are constants in this package, and the values they may have.
_CHANNEL_MAPPER: dict[str, tuple[Any, ...]] = {
    "neck.type": ("ChannelMapper",),
    "neck.kernel_size": (1,),
    "neck.norm_cfg.type": ("GN",),
    "neck.act_cfg": (None,),
}
_CONSTANTS: dict[str, dict[str, tuple[Any, ...]]] = {
    "ResNet": {"backbone.style": ("pytorch",), **_CHANNEL_MAPPER},
    "SwinTransformerV1": {
        "backbone.patch_size": (4,),
        "backbone.in_chans": (3,),
        "backbone.mlp_ratio": (4.0,),
        "backbone.qkv_bias": (True,),
        "backbone.qk_scale": (None,),
        "backbone.drop_rate": (0.0,),
        "backbone.attn_drop_rate": (0.0,),
        "backbone.ape": (False,),
        "backbone.patch_norm": (True,),
        **_CHANNEL_MAPPER,
    },
    "ViT": {
        "backbone.patch_size": (PATCH_SIZE,),
        "backbone.qkv_bias": (True,),
        "backbone.residual_block_indexes": ([], ()),
        "neck.type": ("SFP",),
        "neck.num_outs": (5,),
        "neck.use_act_checkpoint": (False,),
    },
}


def backbone_faults(model: ConfigReader) -> list[str]:
    """List the settings of the backbone and the neck that this package cannot build, one line each.

    Args:
        model: configuration of the detector.
    """
    kind = model.get("backbone.type")
    if kind not in _CONSTANTS:
        return [f"backbone.type is {kind!r}, supported are {', '.join(map(repr, _CONSTANTS))}"]
    faults = model.faults(_CONSTANTS[kind])
    if kind == "ViT":
        if not model.get("neck.use_p2", False):
            faults.append("neck.use_p2 is False, supported is True")
        return faults
    # The neck adds one level to the backbone's.
    levels, supported = model.get("neck.num_outs"), len(model.get("backbone.out_indices", [0, 1, 2, 3])) + 1
    if levels not in (None, supported):
        faults.append(f"neck.num_outs is {levels!r}, supported with this backbone is {supported}")
    return faults


def read_backbone(backbone: ConfigReader) -> dict[str, Any]:
    """Read the values of a `BackboneConfig`."""
    return _READERS[backbone.get("type")](backbone)


def _resnet(backbone: ConfigReader) -> dict[str, Any]:
    return {
        "kind": "resnet",
        "depth": backbone.get("depth"),
        "base_width": backbone.get("base_channels", 64),
        "out_stages": backbone.get("out_indices", [0, 1, 2, 3]),
        "frozen_stages": backbone.get("frozen_stages", -1),
    }


def _swin(backbone: ConfigReader) -> dict[str, Any]:
    frozen = backbone.get("frozen_stages", -1)
    return {
        "kind": "swin",
        "width": backbone.get("embed_dim", 96),
        "depths": backbone.get("depths", [2, 2, 6, 2]),
        "attention_heads": backbone.get("num_heads", [3, 6, 12, 24]),
        "window_size": backbone.get("window_size", 7),
        "out_stages": backbone.get("out_indices", [0, 1, 2, 3]),
        "drop_path": backbone.get("drop_path_rate", 0.2),
        # In the official code 1 freezes no more than 0 does; the first stage is frozen from 2 on.
        "frozen_stages": frozen - 1 if frozen > 0 else frozen,
        "checkpointing": backbone.get("use_checkpoint", False),
    }


def _vit(backbone: ConfigReader) -> dict[str, Any]:
    channels, depth, image_size = (backbone.get(name, 0) for name in ("embed_dim", "depth", "img_size"))
    # The published lists contain blocks beyond the last one.
    windowed = backbone.get("window_block_indexes", [])
    return {
        "kind": "vit",
        "channels": channels,
        "depth": depth,
        "attention_heads": backbone.get("num_heads"),
        "feedforward_channels": int(channels * backbone.get("mlp_ratio", 8 / 3)),
        "window_size": backbone.get("window_size"),
        "global_blocks": [block for block in range(depth) if block not in windowed],
        "pretrained_grid": backbone.get("pretrain_img_size", 0) // PATCH_SIZE,
        "canvas": image_size if backbone.get("use_lsj", False) else None,
        "drop_path": backbone.get("drop_path_rate", 0.0),
        "checkpointing": backbone.get("use_act_checkpoint", False),
    }


_READERS = {"ResNet": _resnet, "SwinTransformerV1": _swin, "ViT": _vit}
