"""Mask heads of an official (mmdetection-style) configuration."""

from __future__ import annotations

from typing import Any

from codetr.weights.official.config_reader import ConfigReader

_ROI = "roi_head.mask_head"
# Settings that are constants in this package, and the values they may have.
_CONSTANTS_OF_ROI: dict[str, tuple[Any, ...]] = {
    f"{_ROI}.type": ("FCNMaskHead",),
    f"{_ROI}.conv_kernel_size": (3,),
    f"{_ROI}.upsample_cfg.type": ("deconv",),
    f"{_ROI}.upsample_cfg.scale_factor": (2,),
    f"{_ROI}.class_agnostic": (False,),
    f"{_ROI}.loss_mask.use_mask": (True,),
}

_CONSTANTS_OF_INSTANCE: dict[str, tuple[Any, ...]] = {
    "mask_head.type": ("SimpleRefineMaskHead",),
    "mask_head.fusion_type": ("MultiBranchFusionAvg",),
    "mask_head.dilations": ([1, 3, 5],),
    "mask_head.norm_cfg.type": ("LN2d",),
    "mask_head.semantic_out_stride": (4,),
    "mask_head.stage_sup_size": ([14, 28, 56, 112],),
    "mask_head.pre_upsample_last_stage": (False,),
    "mask_head.loss_cfg.type": ("BARCrossEntropyLoss",),
    "mask_head.loss_cfg.boundary_width": (2,),
    "mask_head.loss_cfg.start_stage": (1,),
    "mask_iou_head.type": ("MaskIoUHead",),
    "mask_iou_head.num_convs": (2,),
    "mask_iou_head.num_fcs": (1,),
    "mask_iou_head.norm_cfg.type": ("LN2d",),
    "mask_iou_head.score_use_sigmoid": (True,),
}


def mask_faults(model: ConfigReader) -> list[str]:
    """List the settings of the mask heads that this package cannot build, one line each.

    Args:
        model: configuration of the detector.
    """
    faults = []
    channels = model.get("neck.out_channels")
    if model.get(_ROI) is not None:
        box = model.at("roi_head.bbox_roi_extractor")
        faults += model.faults(
            _CONSTANTS_OF_ROI
            | {
                f"{_ROI}.conv_out_channels": (channels,),
                "roi_head.mask_roi_extractor.finest_scale": (box.get("finest_scale", 56),),
            }
        )
    if (model.get("mask_head") is None) != (model.get("mask_iou_head") is None):
        faults.append("only one of mask_head and mask_iou_head is set, supported are both or neither")
    elif model.get("mask_head") is not None:
        classes = model.get("query_head.num_classes")
        widths = ("conv_in_channels_instance", "conv_in_channels_semantic", "conv_out_channels_instance")
        faults += model.faults(
            _CONSTANTS_OF_INSTANCE
            | {f"mask_head.{name}": (channels,) for name in (*widths, "conv_out_channels_semantic")}
            | {"mask_iou_head.conv_out_channels": (channels,)}
            | {"mask_head.stage_num_classes": ([classes, classes, classes, 1],)}
        )
    return faults


def read_roi_mask(head: ConfigReader) -> dict[str, Any] | None:
    """Read the values of a `MaskHeadConfig`, None without a mask head.

    Args:
        head: configuration of the RoI head.
    """
    if head.get("mask_head") is None:
        return None
    return {
        "convs": head.get("mask_head.num_convs", 4),
        "pool_size": head.get("mask_roi_extractor.roi_layer.output_size", 14),
        "weight": head.get("mask_head.loss_mask.loss_weight", 12.0),
    }


def read_instance(model: ConfigReader, train: ConfigReader) -> dict[str, Any]:
    """Read the values of an `InstanceHeadConfig`.

    Args:
        model: configuration of a detector with a mask head.
        train: part of `train_cfg` for the mask head.
    """
    head, scores = model.at("mask_head"), model.at("mask_iou_head")
    return {
        "finest_scale": model.get("mask_roi_extractor.finest_scale", 56),
        "pool_size": model.get("mask_roi_extractor.roi_layer.output_size", 14),
        "instance_convs": head.get("num_convs_instance", 1),
        "semantic_convs": head.get("num_convs_semantic", 2),
        "positive_iou": train.get("assigner.pos_iou_thr", 0.5),
        "samples": train.get("sampler.num", 512),
        "positive_fraction": train.get("sampler.pos_fraction", 0.25),
        "mask_weight": head.get("loss_weight", 1.0),
        "stage_weights": head.get("loss_cfg.stage_instance_loss_weight", [0.5, 0.75, 0.75, 1.0]),
        "iou_fc_channels": scores.get("fc_out_channels", 1024),
        "iou_weight": scores.get("loss_iou.loss_weight", 6.0),
    }
