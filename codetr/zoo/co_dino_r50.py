"""Recipes of Co-DINO with ResNet-50, five scales."""

from __future__ import annotations

from codetr.models.config import DetectorConfig
from codetr.zoo.base import COCO_CLASSES, LVIS_CLASSES, large_scale_jitter, published
from codetr.zoo.detectors import co_dino_5scale_9encoder_lsj_r50, co_dino_5scale_r50
from codetr.zoo.recipe import Recipe

_WEIGHTS = "IMAGENET1K_V1"
_CANVAS = 1024


def co_dino_5scale_r50_1x_coco() -> Recipe:
    """Build the recipe with DETR's augmentation."""
    model = co_dino_5scale_r50(COCO_CLASSES)
    return published("co_dino_5scale_r50_1x_coco", "Co-DINO, ResNet-50", model, backbone_weights=_WEIGHTS)


def co_dino_5scale_r50_1x_lvis() -> Recipe:
    """Build the recipe for LVIS with DETR's augmentation."""
    model = co_dino_5scale_r50(LVIS_CLASSES)
    return published("co_dino_5scale_r50_1x_lvis", "Co-DINO, ResNet-50", model, backbone_weights=_WEIGHTS, lvis=True)


def co_dino_5scale_lsj_r50_1x_coco() -> Recipe:
    """Build the recipe with large-scale jitter."""
    return _jitter("co_dino_5scale_lsj_r50_1x_coco", co_dino_5scale_r50(COCO_CLASSES, lsj=True))


def co_dino_5scale_lsj_r50_3x_coco() -> Recipe:
    """Build the recipe with large-scale jitter and the 3x schedule."""
    return _jitter("co_dino_5scale_lsj_r50_3x_coco", co_dino_5scale_r50(COCO_CLASSES, lsj=True), longer=True)


def co_dino_5scale_lsj_r50_1x_lvis() -> Recipe:
    """Build the recipe for LVIS with large-scale jitter."""
    return _jitter("co_dino_5scale_lsj_r50_1x_lvis", co_dino_5scale_r50(LVIS_CLASSES, lsj=True), lvis=True)


def co_dino_5scale_9encoder_lsj_r50_1x_coco() -> Recipe:
    """Build the recipe with large-scale jitter, nine encoder layers."""
    return _jitter("co_dino_5scale_9encoder_lsj_r50_1x_coco", co_dino_5scale_9encoder_lsj_r50(COCO_CLASSES))


def co_dino_5scale_9encoder_lsj_r50_3x_coco() -> Recipe:
    """Build the recipe with large-scale jitter, nine encoder layers and the 3x schedule."""
    model = co_dino_5scale_9encoder_lsj_r50(COCO_CLASSES)
    return _jitter("co_dino_5scale_9encoder_lsj_r50_3x_coco", model, longer=True)


def _jitter(name: str, model: DetectorConfig, *, longer: bool = False, lvis: bool = False) -> Recipe:
    preprocess, augment = large_scale_jitter(_CANVAS)
    layers = model.query.transformer.encoder_layers
    return published(
        name,
        f"Co-DINO, ResNet-50, {layers} encoder layers, large-scale jitter",
        model,
        backbone_weights=_WEIGHTS,
        epochs=36 if longer else 12,
        milestones=(-6,) if longer else (-1,),
        preprocess=preprocess,
        augment=augment,
        lvis=lvis,
    )
