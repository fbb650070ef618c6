"""Recipes of Co-DINO with the ViT-L of EVA-02. The published weights were pretrained on Objects365 as a whole."""

from __future__ import annotations

from codetr.models.config import DetectorConfig
from codetr.training.config import EmaConfig, OptimizerConfig
from codetr.zoo.base import COCO_CLASSES, LVIS_CLASSES, large_images, large_scale_jitter, published
from codetr.zoo.detectors import (
    co_dino_vit_large_coco,
    co_dino_vit_large_coco_instance,
    co_dino_vit_large_lvis,
    co_dino_vit_large_lvis_instance,
)
from codetr.zoo.recipe import Recipe

_WEIGHTS = "eva02_L_pt_m38m_p14to16"
_WARMUP = 500


def co_dino_5scale_vit_large_coco() -> Recipe:
    """Build the recipe with large images, layer-wise learning rates, averaged weights."""
    return _coco("co_dino_5scale_vit_large_coco", "Co-DINO, ViT-L", co_dino_vit_large_coco(COCO_CLASSES))


def co_dino_5scale_vit_large_coco_instance() -> Recipe:
    """Build the recipe for COCO with masks."""
    model = co_dino_vit_large_coco_instance(COCO_CLASSES)
    return _coco("co_dino_5scale_vit_large_coco_instance", "Co-DINO with masks, ViT-L", model)


def co_dino_5scale_lsj_vit_large_lvis() -> Recipe:
    """Build the recipe for LVIS with large-scale jitter."""
    model = co_dino_vit_large_lvis(LVIS_CLASSES)
    return _lvis("co_dino_5scale_lsj_vit_large_lvis", "Co-DINO, ViT-L, large-scale jitter", model)


def co_dino_5scale_lsj_vit_large_lvis_instance() -> Recipe:
    """Build the recipe for LVIS with large-scale jitter and masks."""
    model = co_dino_vit_large_lvis_instance(LVIS_CLASSES)
    name = "co_dino_5scale_lsj_vit_large_lvis_instance"
    return _lvis(name, "Co-DINO with masks, ViT-L, large-scale jitter", model)


def _coco(name: str, description: str, model: DetectorConfig) -> Recipe:
    preprocess, augment = large_images(2400)
    return published(
        name,
        description,
        model,
        backbone_weights=_WEIGHTS,
        batch_size=1,
        milestones=(-5,),
        warmup_iterations=_WARMUP,
        ema=EmaConfig(),
        optimizer=OptimizerConfig(lr=5e-5, weight_decay=0.01, lr_multipliers={}, layer_decay=0.8),
        preprocess=preprocess,
        augment=augment,
    )


def _lvis(name: str, description: str, model: DetectorConfig) -> Recipe:
    preprocess, augment = large_scale_jitter(1536)
    return published(
        name,
        description,
        model,
        backbone_weights=_WEIGHTS,
        batch_size=1,
        epochs=16,
        milestones=(-7, -1),
        warmup_iterations=_WARMUP,
        optimizer=OptimizerConfig(lr=5e-5, weight_decay=0.05),
        preprocess=preprocess,
        augment=augment,
        lvis=True,
    )
