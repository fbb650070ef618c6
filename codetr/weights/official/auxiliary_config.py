"""Auxiliary heads of an official (mmdetection-style) configuration: RPN, RoI head and ATSS."""

from __future__ import annotations

from typing import Any

from codetr.models.config import DetectorConfig
from codetr.weights.official.config_parts import (
    REGIONS,
    Fields,
    anchors,
    assigner,
    box_coder,
    classes,
    focal,
    losses,
    read_nms,
    require_regions,
    require_roi_extractor,
    sampler,
    widths,
)
from codetr.weights.official.config_reader import REQUIRED, ConfigReader, Only, always, only
from codetr.weights.official.mask_config import read_roi_mask, require_roi_mask

# Settings that are constants in this package.
_RPN: dict[str, Only] = {
    "type": only("RPNHead"),
    "num_convs": always(1),
    "reg_decoded_bbox": always(False),
    "loss_cls.type": only("CrossEntropyLoss"),
    "loss_cls.use_sigmoid": only(True, default=False),
    "loss_bbox.type": only("L1Loss"),
    **anchors(),
    **box_coder(deviations=False),
    **losses("loss_cls", "loss_bbox"),
}
_RPN_TRAIN: dict[str, Only] = {
    **assigner(low_quality=True),
    **sampler(with_objects=False),
    "allowed_border": only(-1),
    "pos_weight": only(-1),
}
_RPN_PROPOSALS: dict[str, Only] = {
    "nms.type": always("nms"),
    "nms.class_agnostic": always(False),
    "nms.split_thr": always(10000),
    "min_bbox_size": only(0),
}
_ROI: dict[str, Only] = {
    "type": only("CoStandardRoIHead"),
    "shared_head": always(None),
    "bbox_head.type": only("Shared2FCBBoxHead", "ConvFCBBoxHead", "Shared4Conv1FCBBoxHead"),
    "bbox_head.with_avg_pool": always(False),
    "bbox_head.with_cls": always(True),
    "bbox_head.with_reg": always(True),
    "bbox_head.reg_decoded_bbox": only(True, default=False),
    "bbox_head.reg_predictor_cfg.type": always("Linear"),
    "bbox_head.cls_predictor_cfg.type": always("Linear"),
    **{f"bbox_head.num_{branch}_{kind}": always(0) for branch in ("cls", "reg") for kind in ("convs", "fcs")},
    "bbox_head.conv_cfg": always(None),
    "bbox_head.loss_cls.type": only("CrossEntropyLoss"),
    "bbox_head.loss_cls.use_sigmoid": always(False),
    "bbox_head.loss_bbox.type": only("GIoULoss"),
    **{f"bbox_head.{name}": value for name, value in box_coder(deviations=True).items()},
    **losses("bbox_head.loss_cls", "bbox_head.loss_bbox"),
}
_ATSS: dict[str, Only] = {
    "type": only("CoATSSHead"),
    "conv_cfg": always(None),
    "norm_cfg.type": always("GN"),
    "norm_cfg.num_groups": always(32),
    "norm_cfg.requires_grad": always(True),
    "reg_decoded_bbox": always(True),
    "anchor_generator.ratios": only([1.0]),
    "anchor_generator.scales_per_octave": only(1),
    "loss_bbox.type": only("GIoULoss"),
    "loss_centerness.type": always("CrossEntropyLoss"),
    "loss_centerness.use_sigmoid": only(True, default=False),
    **anchors(),
    **box_coder(deviations=True),
    **focal("loss_cls"),
    **losses("loss_cls", "loss_bbox", "loss_centerness"),
}
_ATSS_TRAIN: dict[str, Only] = {
    "assigner.type": only("ATSSAssigner"),
    "assigner.alpha": always(None),
    "assigner.ignore_iof_thr": always(-1),
    "assigner.iou_calculator.type": always("BboxOverlaps2D"),
    "allowed_border": only(-1),
    "pos_weight": only(-1),
}

_CLAMP = {"bbox_coder.ctr_clamp": "read with add_ctr_clamp only"}
_DEBUG = {"debug": "not read by the official code"}
_PROPOSALS: Fields = {
    "candidates": ("nms_pre", REQUIRED),
    "proposals": ("max_per_img", REQUIRED),
    "iou_threshold": ("nms.iou_threshold", REQUIRED),
}


def read_rpn(head: ConfigReader, train: ConfigReader | None, test: ConfigReader) -> dict[str, Any]:
    """Read the values of an `RPNConfig`.

    Args:
        head: configuration of the head, which notes what cannot be built.
        train: part of `train_cfg` for RPN and RoI head, None if there is none.
        test: part of `test_cfg` for them.
    """
    head.require(_RPN)
    head.pass_over(_CLAMP)
    fields = {
        "octave_base_scale": ("anchor_generator.octave_base_scale", REQUIRED),
        "scales_per_octave": ("anchor_generator.scales_per_octave", REQUIRED),
        "ratios": ("anchor_generator.ratios", REQUIRED),
        "classification_weight": ("loss_cls.loss_weight", 1.0),
        "box_weight": ("loss_bbox.loss_weight", 1.0),
    }
    values = head.read("rpn", fields)
    test.at("rpn").require(_RPN_PROPOSALS)
    values["test_proposals"] = test.at("rpn").read("rpn.test_proposals", _PROPOSALS)
    if train is None:
        return values
    fields = {
        "positive_iou": ("assigner.pos_iou_thr", REQUIRED),
        "negative_iou": ("assigner.neg_iou_thr", REQUIRED),
        "min_positive_iou": ("assigner.min_pos_iou", 0.0),
        "samples": ("sampler.num", REQUIRED),
        "positive_fraction": ("sampler.pos_fraction", REQUIRED),
    }
    training = train.at("rpn")
    training.require(_RPN_TRAIN)
    training.pass_over({"assigner.gpu_assign_thr": "trades time for memory", **_DEBUG})
    proposals = train.at("rpn_proposal") if train.has("rpn_proposal") else test.at("rpn")
    proposals.require(_RPN_PROPOSALS)
    values["train_proposals"] = proposals.read("rpn.train_proposals", _PROPOSALS)
    return values | training.read("rpn", fields)


def read_roi(
    head: ConfigReader, train: ConfigReader | None, test: ConfigReader, queries: dict[str, Any]
) -> dict[str, Any]:
    """Read the values of a `RoIHeadConfig`.

    Args:
        head: configuration of the head, which notes what cannot be built.
        train: part of `train_cfg` for RPN and RoI head, None if there is none.
        test: part of `test_cfg` for them.
        queries: values of the settings of positive queries.
    """
    head.require(_ROI)
    head.at("bbox_head").pass_over(_CLAMP)
    convs, fcs = {"Shared4Conv1FCBBoxHead": (4, 1), "ConvFCBBoxHead": (0, 0)}.get(
        head.get("bbox_head.type", ""), (0, 2)
    )
    fields = {
        "finest_scale": ("bbox_roi_extractor.finest_scale", 56),
        "pool_size": ("bbox_roi_extractor.roi_layer.output_size", REQUIRED),
        "shared_convs": ("bbox_head.num_shared_convs", convs),
        "shared_fcs": ("bbox_head.num_shared_fcs", fcs),
        "fc_channels": ("bbox_head.fc_out_channels", 1024),
        "class_agnostic": ("bbox_head.reg_class_agnostic", False),
        "delta_stds": ("bbox_head.bbox_coder.target_stds", [1.0] * 4),
        "classification_weight": ("bbox_head.loss_cls.loss_weight", 1.0),
        "giou_weight": ("bbox_head.loss_bbox.loss_weight", 1.0),
    }
    values = head.read("roi", fields) | queries
    training, testing = None if train is None else train.at("rcnn"), test.at("rcnn")
    fields = {"score_threshold": ("score_thr", REQUIRED), "max_detections": ("max_per_img", REQUIRED)}
    values |= testing.read("roi", fields) | {"nms": read_nms(testing, "roi.nms")}
    values["mask"] = read_roi_mask(head, training, testing)
    if training is not None:
        values |= training.read("roi", REGIONS)
        require_regions(training)
        training.require({"pos_weight": only(-1)})
    return values


def read_atss(
    head: ConfigReader, train: ConfigReader | None, test: ConfigReader, queries: dict[str, Any]
) -> dict[str, Any]:
    """Read the values of an `ATSSHeadConfig`.

    Args:
        head: configuration of the head, which notes what cannot be built.
        train: part of `train_cfg` for it, None if there is none.
        test: part of `test_cfg` for it.
        queries: values of the settings of positive queries.
    """
    head.require(_ATSS)
    head.pass_over(_CLAMP)
    fields = {
        "stacked_convs": ("stacked_convs", 4),
        "octave_base_scale": ("anchor_generator.octave_base_scale", REQUIRED),
        "delta_stds": ("bbox_coder.target_stds", [1.0] * 4),
        "classification_weight": ("loss_cls.loss_weight", 1.0),
        "giou_weight": ("loss_bbox.loss_weight", 1.0),
        "centerness_weight": ("loss_centerness.loss_weight", 1.0),
    }
    values = head.read("atss", fields) | queries
    test.require({"min_bbox_size": only(0)})
    fields = {
        "score_threshold": ("score_thr", REQUIRED),
        "candidates": ("nms_pre", REQUIRED),
        "max_detections": ("max_per_img", REQUIRED),
    }
    values |= test.read("atss", fields) | {"nms": read_nms(test, "atss.nms")}
    if train is not None:
        train.require(_ATSS_TRAIN)
        train.pass_over(_DEBUG)
        values |= train.read("atss", {"assigner_candidates": ("assigner.topk", REQUIRED)})
    return values


def require_auxiliary(model: ConfigReader, config: DetectorConfig) -> None:
    """Check the sizes of the auxiliary heads of a detector with this configuration.

    Args:
        model: configuration of the detector, which notes what cannot be built.
        config: what was read.
    """
    strides = only(list(config.dense_strides), like="the maps of the backbone")
    dense = widths(config, "in_channels", default=None) | widths(config, "feat_channels")
    dense |= {"anchor_generator.strides": strides}
    if config.roi is not None:
        head = model.at("roi_head.0")
        model.at("rpn_head").require(dense)
        extractor = head.at("bbox_roi_extractor")
        require_roi_extractor(extractor, config)
        side = only(config.roi.pool_size, default=7, like=f"{extractor.path}.roi_layer.output_size")
        box = head.at("bbox_head")
        box.require(widths(config, "in_channels") | classes(config) | {"roi_feat_size": side})
        if config.roi.shared_convs:
            groups = {
                "norm_cfg.type": only("GN"),
                "norm_cfg.num_groups": only(32),
                "norm_cfg.requires_grad": always(True),
            }
            box.require(widths(config, "conv_out_channels") | groups)
        else:
            reason = "read with convolutions only (num_shared_convs)"
            box.pass_over({"conv_out_channels": reason, "norm_cfg": reason})
        require_roi_mask(head, config)
    if config.atss is not None:
        model.at("bbox_head.0").require(dense | classes(config))
