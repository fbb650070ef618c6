"""Recipes of Co-Deformable-DETR."""

from __future__ import annotations

from codetr.models.config import co_deformable_detr_mask_r50, co_deformable_detr_r50
from codetr.recipe import Recipe
from codetr.zoo.base import COCO_CLASSES, r50_coco

_LR_MULTIPLIERS = {"backbone": 0.1, "sampling_offsets": 0.1, "reference_points": 0.1}


def co_deformable_detr_r50_1x_coco() -> Recipe:
    """As published: 12 epochs, and a smaller learning rate for the sampling offsets too."""
    return r50_coco(
        "co_deformable_detr_r50_1x_coco",
        "Co-Deformable-DETR, ResNet-50, 12 epochs",
        co_deformable_detr_r50(COCO_CLASSES),
        lr_multipliers=_LR_MULTIPLIERS,
    )


def co_deformable_detr_mask_r50_1x_coco() -> Recipe:
    """As published: the same with a mask head in the RoI head, whose detections are the detector's."""
    return r50_coco(
        "co_deformable_detr_mask_r50_1x_coco",
        "Co-Deformable-DETR with masks, ResNet-50, 12 epochs",
        co_deformable_detr_mask_r50(COCO_CLASSES),
        lr_multipliers=_LR_MULTIPLIERS,
    )
