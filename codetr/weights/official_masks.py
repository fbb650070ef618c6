"""Reading the mask heads of an official configuration."""

from __future__ import annotations

from typing import Any

from codetr.weights.official_reader import Reader

_ROI = "roi_head.mask_head"
# Values that are constants here.
_CONSTANTS_OF_ROI: dict[str, tuple[Any, ...]] = {
    f"{_ROI}.type": ("FCNMaskHead",),
    f"{_ROI}.conv_kernel_size": (3,),
    f"{_ROI}.upsample_cfg.type": ("deconv",),
    f"{_ROI}.upsample_cfg.scale_factor": (2,),
    f"{_ROI}.class_agnostic": (False,),
    f"{_ROI}.loss_mask.use_mask": (True,),
}


def mask_faults(model: Reader) -> list[str]:
    """What of the mask heads cannot be built, a line each.

    Args:
        model: of the whole detector.
    """
    faults = []
    if model.get(_ROI) is not None:
        channels = model.get("neck.out_channels")
        box = model.at("roi_head.bbox_roi_extractor")
        faults += model.faults(
            _CONSTANTS_OF_ROI
            | {
                f"{_ROI}.conv_out_channels": (channels,),
                "roi_head.mask_roi_extractor.finest_scale": (box.get("finest_scale", 56),),
            }
        )
    return faults


def read_roi_mask(head: Reader) -> dict[str, Any] | None:
    """The values of a `MaskHeadConfig`, None without a mask head.

    Args:
        head: the RoI head.
    """
    if head.get("mask_head") is None:
        return None
    return {
        "convs": head.get("mask_head.num_convs", 4),
        "pool_size": head.get("mask_roi_extractor.roi_layer.output_size", 14),
        "weight": head.get("mask_head.loss_mask.loss_weight", 12.0),
    }
