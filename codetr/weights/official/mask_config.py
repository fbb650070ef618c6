"""Mask heads of an official (mmdetection-style) configuration."""

from __future__ import annotations

from typing import Any

from codetr.models.config import DetectorConfig
from codetr.weights.official.config_parts import REGIONS, classes, require_regions, require_roi_extractor, widths
from codetr.weights.official.config_reader import REQUIRED, ConfigReader, Only, always, only

# Settings that are constants in this package.
_ROI: dict[str, Only] = {
    "type": only("FCNMaskHead"),
    "conv_kernel_size": always(3),
    "upsample_cfg.type": always("deconv"),
    "upsample_cfg.scale_factor": always(2),
    "class_agnostic": always(False),
    "conv_cfg": always(None),
    "norm_cfg": always(None),
    "predictor_cfg.type": always("Conv"),
    "loss_mask.type": only("CrossEntropyLoss"),
    "loss_mask.use_mask": only(True, default=False),
}

_INSTANCE: dict[str, Only] = {
    "type": only("SimpleRefineMaskHead"),
    "conv_kernel_size_instance": always(3),
    "conv_kernel_size_semantic": always(3),
    "conv_cfg": always(None),
    "norm_cfg.type": only("LN2d"),
    "fusion_type": always("MultiBranchFusionAvg"),
    "dilations": always([1, 3, 5]),
    "semantic_out_stride": always(4),
    "pre_upsample_last_stage": always(False),
    "upsample_cfg.type": always("bilinear"),
    "upsample_cfg.scale_factor": always(2),
    "loss_cfg.type": only("BARCrossEntropyLoss"),
    "loss_cfg.boundary_width": always(2),
    "loss_cfg.start_stage": always(1),
}
_IOU: dict[str, Only] = {
    "type": only("MaskIoUHead"),
    "num_convs": only(2, default=4),
    "num_fcs": only(1, default=2),
    "norm_cfg.type": only("LN2d"),
    "score_use_sigmoid": only(True, default=False),
    "loss_iou.type": only("MSELoss"),
}


def read_roi_mask(head: ConfigReader, train: ConfigReader | None, test: ConfigReader) -> dict[str, Any] | None:
    """Read the values of a `MaskHeadConfig`, None without a mask head.

    Args:
        head: configuration of the RoI head.
        train: its part of `train_cfg`, None if there is none.
        test: its part of `test_cfg`.
    """
    unused = {"mask_thr_binary": "read by mask heads only", "mask_size": "read by mask heads only"}
    if not head.has("mask_head"):
        head.require({"mask_head": always(None), "mask_roi_extractor": always(None)})
        for part in filter(None, (train, test)):
            part.pass_over(unused)
        return None
    mask = head.at("mask_head")
    mask.require(_ROI)
    mask.pass_over({"roi_feat_size": "not read by the official code"})
    test.require({"mask_thr_binary": only(0.5)})
    fields = {
        "convs": ("mask_head.num_convs", 4),
        "pool_size": ("mask_roi_extractor.roi_layer.output_size", REQUIRED),
        "weight": ("mask_head.loss_mask.loss_weight", 1.0),
    }
    values = head.read("roi.mask", fields)
    if train is not None and isinstance(values["pool_size"], int):
        like = f"{head.path}.mask_roi_extractor.roi_layer.output_size"
        train.require({"mask_size": only(2 * values["pool_size"], like=like)})
    return values


def require_roi_mask(head: ConfigReader, config: DetectorConfig) -> None:
    """Check the sizes of the RoI head's mask head."""
    if config.roi is None or config.roi.mask is None:
        return
    head.at("mask_head").require(widths(config, "in_channels", "conv_out_channels") | classes(config))
    extractor = head.at("mask_roi_extractor")
    require_roi_extractor(extractor, config)
    # The regions of boxes and of masks are assigned to levels once.
    like = f"{head.path}.bbox_roi_extractor.finest_scale"
    extractor.require({"finest_scale": only(config.roi.finest_scale, default=56, like=like)})


def read_instance(model: ConfigReader, train: ConfigReader | None, test: ConfigReader) -> dict[str, Any]:
    """Read the values of an `InstanceHeadConfig`.

    Args:
        model: configuration of a detector with a mask head.
        train: part of `train_cfg` for the mask head, None if there is none.
        test: part of `test_cfg` for the mask head.
    """
    if not model.has("mask_iou_head"):
        model.faults.append("only mask_head is set, supported are mask_head and mask_iou_head, or neither")
        return {}
    model.at("mask_head").require(_INSTANCE)
    model.at("mask_iou_head").require(_IOU)
    test.require({"mask_thr_binary": only(0.5)})
    reason = "not read by the official code: masks are those of the query head's detections"
    test.pass_over({"score_thr": reason, "nms": reason, "max_per_img": reason})
    fields = {
        "finest_scale": ("mask_roi_extractor.finest_scale", 56),
        "pool_size": ("mask_roi_extractor.roi_layer.output_size", REQUIRED),
        "instance_convs": ("mask_head.num_convs_instance", 2),
        "semantic_convs": ("mask_head.num_convs_semantic", 4),
        "mask_weight": ("mask_head.loss_weight", 1.0),
        "stage_weights": ("mask_head.loss_cfg.stage_instance_loss_weight", [1.0] * 4),
        "iou_fc_channels": ("mask_iou_head.fc_out_channels", 1024),
        "iou_weight": ("mask_iou_head.loss_iou.loss_weight", 1.0),
    }
    values = model.read("instance", fields)
    if train is not None:
        values |= train.read("instance", REGIONS)
        require_regions(train)
        train.require({"mask_thr_binary": only(0.5)})
        train.pass_over({"mask_size": "not read: stage_sup_size has the sizes", "pos_weight": "not read by mask heads"})
    return values


def require_instance(model: ConfigReader, config: DetectorConfig) -> None:
    """Check the sizes of the mask heads for the query head's detections."""
    if config.instance is None:
        return
    side, count = config.instance.pool_size, config.num_classes
    convs = (f"conv_{end}_channels_{kind}" for end in ("in", "out") for kind in ("instance", "semantic"))
    model.at("mask_head").require(
        widths(config, *convs)
        | {
            "stage_num_classes": only([count] * 3 + [1], default=[80] * 4, like="query_head.num_classes"),
            "stage_sup_size": only([side, 2 * side, 4 * side, 8 * side], default=[14, 28, 56, 112]),
        }
    )
    model.at("mask_iou_head").require(
        widths(config, "in_channels", "conv_out_channels")
        | classes(config)
        | {"roi_feat_size": only(side, default=14, like="mask_roi_extractor.roi_layer.output_size")}
    )
    require_roi_extractor(model.at("mask_roi_extractor"), config)
