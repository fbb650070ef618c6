"""The query head, with its encoder and decoder, of an official (mmdetection-style) configuration."""

from __future__ import annotations

import math
from typing import Any

from codetr.models.config import DetectorConfig
from codetr.weights.official.config_parts import Fields, focal, losses, read_nms, widths
from codetr.weights.official.config_reader import REQUIRED, ConfigReader, Only, always, only

KINDS = {"CoDeformDETRHead": "co_deformable", "CoDINOHead": "co_dino"}

_ENCODER, _DECODER = "transformer.encoder", "transformer.decoder"
_ENCODER_ATTENTION = f"{_ENCODER}.transformerlayers.attn_cfgs"
_SELF_ATTENTION, _CROSS_ATTENTION = (f"{_DECODER}.transformerlayers.attn_cfgs.{index}" for index in range(2))
ATTENTION_HEADS = tuple(f"{path}.num_heads" for path in (_ENCODER_ATTENTION, _SELF_ATTENTION, _CROSS_ATTENTION))
"""Paths of the numbers of heads, which must divide the channels."""

# Settings that are constants in this package.
_DEFORMABLE_ATTENTION: dict[str, Only] = {
    "type": only("MultiScaleDeformableAttention"),
    "dropout": only(0.0, default=0.1),
    "batch_first": always(False),
    "norm_cfg": always(None),
}
_LAYER: dict[str, Only] = {
    "ffn_dropout": always(0.0),
    "ffn_num_fcs": always(2),
    "act_cfg.type": always("ReLU"),
    "norm_cfg.type": always("LN"),
    "batch_first": always(False),
    "ffn_cfgs.type": always("FFN"),
    "ffn_cfgs.num_fcs": always(2),
    "ffn_cfgs.ffn_drop": always(0.0),
    "ffn_cfgs.act_cfg.type": always("ReLU"),
}


def _part(path: str, constants: dict[str, Only]) -> dict[str, Only]:
    return {f"{path}.{name}": value for name, value in constants.items()}


_CONSTANTS: dict[str, Only] = {
    "sync_cls_avg_factor": only(True, default=False),
    "with_box_refine": only(True, default=False),
    "as_two_stage": only(True, default=False),
    "mixed_selection": only(True, default=False),
    "num_reg_fcs": always(2),
    "transformer.with_pos_coord": always(True),
    f"{_ENCODER}.type": only("DetrTransformerEncoder"),
    f"{_ENCODER}.transformerlayers.type": only("BaseTransformerLayer"),
    f"{_ENCODER}.transformerlayers.operation_order": only(["self_attn", "norm", "ffn", "norm"]),
    f"{_DECODER}.return_intermediate": only(True, default=False),
    f"{_DECODER}.transformerlayers.type": only("DetrTransformerDecoderLayer"),
    f"{_DECODER}.transformerlayers.operation_order": only(["self_attn", "norm", "cross_attn", "norm", "ffn", "norm"]),
    f"{_SELF_ATTENTION}.type": only("MultiheadAttention"),
    f"{_SELF_ATTENTION}.dropout": always(0.0),
    f"{_SELF_ATTENTION}.attn_drop": always(0.0),
    f"{_SELF_ATTENTION}.proj_drop": always(0.0),
    f"{_SELF_ATTENTION}.batch_first": always(False),
    "positional_encoding.type": only("SinePositionalEncoding"),
    "positional_encoding.normalize": only(True, default=False),
    "positional_encoding.scale": always(2 * math.pi),
    "positional_encoding.eps": always(1e-6),
    "loss_bbox.type": always("L1Loss"),
    "loss_iou.type": always("GIoULoss"),
    **_part(f"{_ENCODER}.transformerlayers", _LAYER),
    **_part(f"{_DECODER}.transformerlayers", _LAYER),
    **_part(_ENCODER_ATTENTION, _DEFORMABLE_ATTENTION),
    **_part(_CROSS_ATTENTION, _DEFORMABLE_ATTENTION),
    **losses("loss_cls", "loss_bbox", "loss_iou"),
}
_CONSTANTS_OF_KIND: dict[str, dict[str, Only]] = {
    "co_deformable": {
        "transformer.type": only("CoDeformableDetrTransformer"),
        "transformer.with_coord_feat": always(True),
        f"{_DECODER}.type": only("CoDeformableDetrTransformerDecoder"),
        f"{_DECODER}.look_forward_twice": only(True, default=False),
        # Losses of the official code are NaN with it, as padded queries may attend to nothing.
        "use_zero_padding": always(False),
        **focal("loss_cls"),
    },
    "co_dino": {
        "transformer.type": only("CoDinoTransformer"),
        "transformer.with_coord_feat": only(False, default=True),
        f"{_DECODER}.type": only("DinoTransformerDecoder"),
        "loss_cls.type": only("QualityFocalLoss"),
        "loss_cls.use_sigmoid": always(True),
        "loss_cls.beta": always(2.0),
    },
}
_DENOISING: dict[str, Only] = {
    # The two classes of the official code are the same.
    "type": only("CdnQueryGenerator", "DnQueryGenerator"),
    "group_cfg.dynamic": only(True, default=False),
}
_ASSIGNER: dict[str, Only] = {
    "type": only("HungarianAssigner"),
    "cls_cost.type": only("FocalLossCost"),
    "cls_cost.alpha": always(0.25),
    "cls_cost.gamma": always(2.0),
    "cls_cost.eps": always(1e-12),
    "cls_cost.binary_input": always(False),
    "reg_cost.type": only("BBoxL1Cost"),
    "reg_cost.box_format": only("xywh", default="xyxy"),
    "iou_cost.type": only("IoUCost"),
    "iou_cost.iou_mode": always("giou"),
}

_OVERWRITTEN = "the head overwrites it by its setting of the same name"
_IRRELEVANT = {
    "in_channels": "the head projects no maps: the neck does",
    "num_feature_levels": "not read by the official code; that of the transformer is",
    "transformer.as_two_stage": _OVERWRITTEN,
    "transformer.mixed_selection": _OVERWRITTEN,
    f"{_ENCODER}.post_norm_cfg": "read by layers that normalise first only",
    **{f"{path}.im2col_step": "size of a step of the computation" for path in (_ENCODER_ATTENTION, _CROSS_ATTENTION)},
    **{
        f"{path}.transformerlayers.{name}": "saves memory"
        for path in (_ENCODER, _DECODER)
        for name in ("act_cfg.inplace", "ffn_cfgs.act_cfg.inplace")
    },
}

_TRANSFORMER: Fields = {
    "encoder_layers": (f"{_ENCODER}.num_layers", REQUIRED),
    "decoder_layers": (f"{_DECODER}.num_layers", REQUIRED),
    "attention_heads": (f"{_ENCODER_ATTENTION}.num_heads", 8),
    "self_attention_heads": (f"{_SELF_ATTENTION}.num_heads", REQUIRED),
    "cross_attention_heads": (f"{_CROSS_ATTENTION}.num_heads", 8),
    "sampling_points": (f"{_ENCODER_ATTENTION}.num_points", 4),
    "feedforward_channels": (f"{_ENCODER}.transformerlayers.feedforward_channels", 1024),
    "checkpointed_encoder_layers": (f"{_ENCODER}.with_cp", -1),
}
_COSTS: Fields = {
    "classification": ("cls_cost.weight", 1.0),
    "l1": ("reg_cost.weight", 1.0),
    "giou": ("iou_cost.weight", 1.0),
}


def read_query(
    head: ConfigReader, kind: str, train: ConfigReader | None, test: ConfigReader
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the values of a `CoDeformableHeadConfig` or `CoDINOHeadConfig`, and those of its positive queries.

    Args:
        head: configuration of the head, which notes what cannot be built.
        kind: of the head.
        train: part of `train_cfg` for it, None if there is none.
        test: part of `test_cfg` for it.

    Returns:
        The values, and those that are settings of the auxiliary heads in this package.
    """
    dino = kind == "co_dino"
    head.require(_CONSTANTS | _CONSTANTS_OF_KIND[kind])
    head.pass_over(_IRRELEVANT)
    fields = {
        "queries": ("num_query", 900 if dino else 100),
        "position_temperature": ("positional_encoding.temperature", 10000),
        "position_offset": ("positional_encoding.offset", 0.0),
        "positive_query_weight": ("lambda_1", 1.0),
    }
    values = {"kind": kind} | head.read("query", fields)
    values["transformer"] = _transformer(head)
    # Without the part of a loss its weight is that of another default.
    fields = {
        "classification": ("loss_cls.loss_weight", 1.0),
        "l1": ("loss_bbox.loss_weight", 1.0 if head.has("loss_bbox") else 5.0),
        "giou": ("loss_iou.loss_weight", 1.0 if head.has("loss_iou") else 2.0),
    }
    values["loss_weights"] = head.read("query.loss_weights", fields)
    if train is not None:
        assigner = train.at("assigner")
        assigner.require(_ASSIGNER)
        values["costs"] = assigner.read("query.costs", _COSTS)
    values |= test.read("query", {"max_detections": ("max_per_img", values["queries"])})
    test.pass_over({"mask_thr_binary": "read by mask heads only"})
    if dino:
        values |= _dino(head, test)
    else:
        test.require({"score_thr": always(0.0), "nms": always(None)})
    padding = "zeros" if dino and head.get("use_zero_padding", False) is True else "background"
    queries = head.read("roi", {"max_auxiliary_queries": ("max_pos_coords", 300)})
    head.names("atss.max_auxiliary_queries", "max_pos_coords")
    return values, queries | {"auxiliary_padding": padding}


def _transformer(head: ConfigReader) -> dict[str, Any]:
    values = head.read("query.transformer", _TRANSFORMER)
    for name in ("self_attention_heads", "cross_attention_heads"):
        if values[name] == values["attention_heads"]:
            values[name] = None
    layers = values["checkpointed_encoder_layers"]
    values["checkpointed_encoder_layers"] = max(0, layers) if isinstance(layers, int) else layers
    points, hidden = values["sampling_points"], values["feedforward_channels"]
    width = f"{head.path}.{_ENCODER}.transformerlayers.feedforward_channels"
    layers_path = f"{_DECODER}.transformerlayers"
    head.require(
        {
            f"{_CROSS_ATTENTION}.num_points": only(
                points, default=4, like=f"{head.path}.{_ENCODER_ATTENTION}.num_points"
            ),
            f"{layers_path}.feedforward_channels": only(hidden, like=width),
            f"{_ENCODER}.transformerlayers.ffn_cfgs.feedforward_channels": only(hidden, default=hidden, like=width),
            f"{layers_path}.ffn_cfgs.feedforward_channels": only(hidden, default=hidden, like=width),
        }
    )
    return values


def _dino(head: ConfigReader, test: ConfigReader) -> dict[str, Any]:
    values = test.read("query", {"score_threshold": ("score_thr", 0.0)})
    values["nms"] = read_nms(test, "query.nms")
    if not head.has("dn_cfg"):
        # A configuration for tests only.
        head.require({"dn_cfg": always(None)})
        return values
    noise = head.at("dn_cfg")
    noise.require(_DENOISING)
    noise.pass_over({"group_cfg.num_groups": "read without group_cfg.dynamic only"})
    given = noise.has("noise_scale")
    fields = {
        "queries": ("group_cfg.num_dn_queries", REQUIRED),
        "label_noise": ("noise_scale.label", REQUIRED if given else 0.5),
        "box_noise": ("noise_scale.box", REQUIRED if given else 0.4),
    }
    return values | {"denoising": noise.read("query.denoising", fields)}


def require_query(head: ConfigReader, config: DetectorConfig) -> None:
    """Check the sizes of encoder, decoder and query head of a detector with this configuration."""
    levels = len(config.strides)
    heads = len(config.auxiliary_heads)
    proposals = only(config.query.queries, default=config.query.queries, like=f"{head.path}.num_query")
    constants = {
        "transformer.num_feature_levels": only(levels, default=4, like="the maps of the backbone"),
        "transformer.num_co_heads": only(heads, default=1, like="the number of auxiliary heads"),
        "positional_encoding.num_feats": only(config.channels // 2, like="half of neck.out_channels"),
        f"{_SELF_ATTENTION}.embed_dims": only(config.channels, like="neck.out_channels"),
    }
    for path in (_ENCODER_ATTENTION, _CROSS_ATTENTION):
        constants |= widths(config, f"{path}.embed_dims")
        constants[f"{path}.num_levels"] = only(levels, default=4, like="the maps of the backbone")
    for path in (_ENCODER, _DECODER):
        constants |= widths(config, f"{path}.transformerlayers.ffn_cfgs.embed_dims", default=config.channels)
    if config.kind == "co_dino":
        constants["transformer.two_stage_num_proposals"] = proposals
    else:
        head.pass_over({"transformer.two_stage_num_proposals": "not read by the official code; num_query is"})
    head.require(constants)
