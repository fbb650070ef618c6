"""Recipes of Co-DINO."""

from __future__ import annotations

from codetr.models.presets import co_dino_5scale_r50
from codetr.recipe import Recipe
from codetr.zoo.base import COCO_CLASSES, r50_coco


def co_dino_5scale_r50_1x_coco() -> Recipe:
    """As published: 12 epochs, five scales."""
    return r50_coco(
        "co_dino_5scale_r50_1x_coco",
        "Co-DINO, ResNet-50, five scales, 12 epochs",
        co_dino_5scale_r50(COCO_CLASSES),
        lr_multipliers={"backbone": 0.1},
    )
