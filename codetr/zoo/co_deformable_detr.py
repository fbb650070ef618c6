"""Recipes of Co-Deformable-DETR."""

from __future__ import annotations

from codetr.models.presets import co_deformable_detr_r50
from codetr.recipe import Recipe
from codetr.zoo.base import COCO_CLASSES, r50_coco


def co_deformable_detr_r50_1x_coco() -> Recipe:
    """As published: 12 epochs, and a smaller learning rate for the sampling offsets too."""
    return r50_coco(
        "co_deformable_detr_r50_1x_coco",
        "Co-Deformable-DETR, ResNet-50, 12 epochs",
        co_deformable_detr_r50(COCO_CLASSES),
        lr_multipliers={"backbone": 0.1, "sampling_offsets": 0.1, "reference_points": 0.1},
    )
