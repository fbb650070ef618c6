"""The `DetectorConfig` of the model part of an official (mmdetection-style) configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codetr.core.errors import UserError
from codetr.models.config import DetectorConfig
from codetr.weights.official.backbone_config import backbone_faults, read_backbone
from codetr.weights.official.config_reader import ConfigReader
from codetr.weights.official.mask_config import mask_faults, read_instance, read_roi_mask

_KINDS = {"CoDeformDETRHead": "co_deformable", "CoDINOHead": "co_dino"}
_HEADS = {"detr": "query", "one-stage": "atss", "two-stage": "roi"}

# Settings that are constants in this package, and the values of all published configurations.
_CONSTANTS: dict[str, tuple[Any, ...]] = {
    "query_head.as_two_stage": (True,),
    "query_head.with_box_refine": (True,),
    "query_head.mixed_selection": (True,),
    "query_head.transformer.with_pos_coord": (True,),
    "query_head.transformer.decoder.look_forward_twice": (True,),
    "query_head.positional_encoding.normalize": (True,),
    "query_head.use_zero_padding": (False,),
    "query_head.loss_cls.gamma": (2.0,),
    "query_head.loss_cls.alpha": (0.25,),
    "query_head.loss_cls.beta": (2.0,),
    "rpn_head.type": ("RPNHead",),
    "roi_head.type": ("CoStandardRoIHead",),
    "roi_head.bbox_head.type": ("Shared2FCBBoxHead", "ConvFCBBoxHead", "Shared4Conv1FCBBoxHead"),
    "roi_head.bbox_head.reg_decoded_bbox": (True,),
    "roi_head.bbox_head.loss_bbox.type": ("GIoULoss",),
    "bbox_head.type": ("CoATSSHead",),
    "eval_module": tuple(_HEADS),
    "bbox_head.loss_cls.gamma": (2.0,),
    "bbox_head.loss_cls.alpha": (0.25,),
}

_CONSTANTS_OF_KIND: dict[str, dict[str, tuple[Any, ...]]] = {
    "co_deformable": {
        "query_head.transformer.with_coord_feat": (True,),
        "query_head.loss_cls.type": ("FocalLoss",),
    },
    "co_dino": {
        "query_head.transformer.with_coord_feat": (False,),
        "query_head.loss_cls.type": ("QualityFocalLoss",),
    },
}


def read_official_config(model: Mapping[str, Any]) -> DetectorConfig:
    """Read the configuration of a detector from `model` of an official configuration.

    Absent values have the official default.

    Args:
        model: nested plain dicts and lists.

    Raises:
        UserError: it contains parts or values that this package does not support; all of them are listed by path.
    """
    reader = ConfigReader(model)
    kind = _KINDS.get(reader.get("query_head.type"))
    if kind is None:
        raise UserError(
            f"query_head.type is {reader.get('query_head.type')!r}, supported: {', '.join(map(repr, _KINDS))}",
            where="official configuration",
        )
    faults = backbone_faults(reader)
    faults += mask_faults(reader)
    faults += reader.faults(_CONSTANTS | _CONSTANTS_OF_KIND[kind])
    faults += _shared_conv_faults(reader)
    if faults:
        raise UserError("; ".join(faults), where="official configuration")

    train, test = list(reader.get("train_cfg", [])), list(reader.get("test_cfg", []))
    train_query, test_query = _next(train), _next(test)
    values: dict[str, Any] = {
        "num_classes": reader.get("query_head.num_classes"),
        "backbone": read_backbone(reader.at("backbone")),
        "channels": reader.get("neck.out_channels"),
        "norm_groups": reader.get("neck.norm_cfg.num_groups", 32),
        "padding_mask": reader.get("with_attn_mask", True),
        "query": _query(reader.at("query_head"), kind, train_query, test_query),
        "rpn": None,
        "roi": None,
        "atss": None,
        "detect_head": _HEADS[reader.get("eval_module", "detr")],
    }
    if reader.get("mask_head"):
        # The official code does not use its test-time settings: its detections are those of the query head.
        values["instance"] = read_instance(reader, _next(train))
        _next(test)
    queries = reader.get("query_head.max_pos_coords", 300)
    if reader.get("roi_head"):
        train_roi, test_roi = _next(train), _next(test)
        values["rpn"] = _rpn(reader.at("rpn_head"), train_roi, test_roi)
        values["roi"] = _roi(reader.at("roi_head"), train_roi, test_roi, queries)
    if reader.get("bbox_head"):
        values["atss"] = _atss(reader.at("bbox_head"), _next(train), _next(test), queries)
    return DetectorConfig.parse(values, where="official configuration")


def _shared_conv_faults(model: ConfigReader) -> list[str]:
    """List unsupported settings of the RoI head's convolutions: theirs must equal the neck's width and groups."""
    head = model.at("roi_head.bbox_head")
    if not _shared_layers(head)[0]:
        return []
    # Name, official default, supported value.
    values = (
        ("conv_out_channels", 256, model.get("neck.out_channels")),
        ("norm_cfg.type", None, "GN"),
        ("norm_cfg.num_groups", 32, model.get("neck.norm_cfg.num_groups", 32)),
    )
    return [
        f"roi_head.bbox_head.{name} is {value!r}, supported: {supported!r}"
        for name, default, supported in values
        if (value := head.get(name, default)) != supported
    ]


def _shared_layers(box: ConfigReader) -> tuple[int, int]:
    """Return the numbers of convolutions and fully connected layers before the predictors of a box head."""
    convs, fcs = {"Shared4Conv1FCBBoxHead": (4, 1), "ConvFCBBoxHead": (0, 0)}.get(box.get("type"), (0, 2))
    return box.get("num_shared_convs", convs), box.get("num_shared_fcs", fcs)


def _next(configs: list[Any]) -> ConfigReader:
    return ConfigReader(configs.pop(0) if configs else {})


def _query(head: ConfigReader, kind: str, train: ConfigReader, test: ConfigReader) -> dict[str, Any]:
    transformer = head.at("transformer")
    # The decoder's attentions are a list, self-attention first; in every model sizes equal those of the encoder.
    attention = transformer.at("encoder.transformerlayers.attn_cfgs")
    dino = kind == "co_dino"
    values: dict[str, Any] = {
        "kind": kind,
        "queries": head.get("num_query", 900 if dino else 300),
        "position_temperature": head.get("positional_encoding.temperature", 10000),
        "position_offset": head.get("positional_encoding.offset", 0.0),
        "transformer": {
            "encoder_layers": transformer.get("encoder.num_layers"),
            "decoder_layers": transformer.get("decoder.num_layers"),
            "attention_heads": attention.get("num_heads", 8),
            "sampling_points": attention.get("num_points", 4),
            "feedforward_channels": transformer.get("encoder.transformerlayers.feedforward_channels", 1024),
            "checkpointed_encoder_layers": max(0, transformer.get("encoder.with_cp", 0)),
        },
        "costs": {
            "classification": train.get("assigner.cls_cost.weight", 2.0),
            "l1": train.get("assigner.reg_cost.weight", 5.0),
            "giou": train.get("assigner.iou_cost.weight", 2.0),
        },
        "loss_weights": {
            "classification": head.get("loss_cls.loss_weight", 1.0 if dino else 2.0),
            "l1": head.get("loss_bbox.loss_weight", 5.0),
            "giou": head.get("loss_iou.loss_weight", 2.0),
        },
        "max_detections": test.get("max_per_img", 100),
    }
    if dino:
        values["denoising"] = {
            "queries": head.get("dn_cfg.group_cfg.num_dn_queries", 100),
            "label_noise": head.get("dn_cfg.noise_scale.label", 0.5),
            "box_noise": head.get("dn_cfg.noise_scale.box", 1.0),
        }
        values["nms"] = _nms(test.at("nms")) if test.get("nms") else None
        values["score_threshold"] = test.get("score_thr", 0.0)
    return values


def _rpn(head: ConfigReader, train: ConfigReader, test: ConfigReader) -> dict[str, Any]:
    train_proposals = train.at("rpn_proposal" if train.get("rpn_proposal") else "rpn")
    return {
        "octave_base_scale": head.get("anchor_generator.octave_base_scale", 4),
        "scales_per_octave": head.get("anchor_generator.scales_per_octave", 3),
        "ratios": head.get("anchor_generator.ratios", [0.5, 1.0, 2.0]),
        "positive_iou": train.get("rpn.assigner.pos_iou_thr", 0.7),
        "negative_iou": train.get("rpn.assigner.neg_iou_thr", 0.3),
        "min_positive_iou": train.get("rpn.assigner.min_pos_iou", 0.3),
        "samples": train.get("rpn.sampler.num", 256),
        "positive_fraction": train.get("rpn.sampler.pos_fraction", 0.5),
        "classification_weight": head.get("loss_cls.loss_weight", 12.0),
        "box_weight": head.get("loss_bbox.loss_weight", 12.0),
        "train_proposals": _proposals(train_proposals, 4000),
        "test_proposals": _proposals(test.at("rpn"), 1000),
    }


def _proposals(config: ConfigReader, candidates: int) -> dict[str, Any]:
    return {
        "candidates": config.get("nms_pre", candidates),
        "proposals": config.get("max_per_img", 1000),
        "iou_threshold": config.get("nms.iou_threshold", 0.7),
    }


def _roi(head: ConfigReader, train: ConfigReader, test: ConfigReader, queries: int) -> dict[str, Any]:
    box = head.at("bbox_head")
    convs, fcs = _shared_layers(box)
    return {
        "finest_scale": head.get("bbox_roi_extractor.finest_scale", 56),
        "pool_size": head.get("bbox_roi_extractor.roi_layer.output_size", 7),
        "shared_convs": convs,
        "shared_fcs": fcs,
        "fc_channels": box.get("fc_out_channels", 1024),
        "class_agnostic": box.get("reg_class_agnostic", False),
        "delta_stds": box.get("bbox_coder.target_stds", [0.1, 0.1, 0.2, 0.2]),
        "positive_iou": train.get("rcnn.assigner.pos_iou_thr", 0.5),
        "samples": train.get("rcnn.sampler.num", 512),
        "positive_fraction": train.get("rcnn.sampler.pos_fraction", 0.25),
        "classification_weight": box.get("loss_cls.loss_weight", 12.0),
        "giou_weight": box.get("loss_bbox.loss_weight", 120.0),
        "max_auxiliary_queries": queries,
        "score_threshold": test.get("rcnn.score_thr", 0.0),
        "nms": _nms(test.at("rcnn.nms"), 0.5),
        "max_detections": test.get("rcnn.max_per_img", 100),
        "mask": read_roi_mask(head),
    }


def _atss(head: ConfigReader, train: ConfigReader, test: ConfigReader, queries: int) -> dict[str, Any]:
    return {
        "stacked_convs": head.get("stacked_convs", 4),
        "octave_base_scale": head.get("anchor_generator.octave_base_scale", 8),
        "assigner_candidates": train.get("assigner.topk", 9),
        "delta_stds": head.get("bbox_coder.target_stds", [0.1, 0.1, 0.2, 0.2]),
        "classification_weight": head.get("loss_cls.loss_weight", 12.0),
        "giou_weight": head.get("loss_bbox.loss_weight", 24.0),
        "centerness_weight": head.get("loss_centerness.loss_weight", 12.0),
        "max_auxiliary_queries": queries,
        "score_threshold": test.get("score_thr", 0.0),
        "candidates": test.get("nms_pre", 1000),
        "nms": _nms(test.at("nms"), 0.6),
        "max_detections": test.get("max_per_img", 100),
    }


def _nms(config: ConfigReader, iou_threshold: float = 0.8) -> dict[str, Any]:
    return {
        "method": config.get("type", "nms"),
        "iou_threshold": config.get("iou_threshold", iou_threshold),
        "min_score": config.get("min_score", 1e-3),
    }
