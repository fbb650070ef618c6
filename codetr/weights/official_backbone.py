"""Reading the backbone and the neck of an official configuration."""

from __future__ import annotations

from typing import Any

from codetr.models.backbones.config import PATCH_SIZE
from codetr.weights.official_reader import Reader

# Values of each type of backbone, and of the neck that goes with it, that are constants here.
_CONSTANTS: dict[str, dict[str, tuple[Any, ...]]] = {
    "ResNet": {
        "backbone.style": ("pytorch",),
        "neck.type": ("ChannelMapper",),
        "neck.kernel_size": (1,),
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


def backbone_faults(model: Reader) -> list[str]:
    """What of the backbone and the neck cannot be built, a line each.

    Args:
        model: of the whole detector.
    """
    kind = model.get("backbone.type")
    if kind not in _CONSTANTS:
        return [f"backbone.type is {kind!r}, only {' or '.join(map(repr, _CONSTANTS))} can be built"]
    faults = model.faults(_CONSTANTS[kind])
    if kind == "ViT" and not model.get("neck.use_p2", False):
        faults.append("neck.use_p2 is False, only True can be built")
    return faults


def read_backbone(backbone: Reader) -> dict[str, Any]:
    """The values of a `BackboneConfig`."""
    return _READERS[backbone.get("type")](backbone)


def _resnet(backbone: Reader) -> dict[str, Any]:
    return {
        "kind": "resnet",
        "depth": backbone.get("depth"),
        "base_width": backbone.get("base_channels", 64),
        "out_stages": backbone.get("out_indices", [0, 1, 2, 3]),
        "frozen_stages": backbone.get("frozen_stages", -1),
    }


def _vit(backbone: Reader) -> dict[str, Any]:
    channels, depth, image_size = (backbone.get(name, 0) for name in ("embed_dim", "depth", "img_size"))
    # The published lists name blocks beyond the last one.
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


_READERS = {"ResNet": _resnet, "ViT": _vit}
