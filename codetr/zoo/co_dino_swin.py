"""Recipes of Co-DINO with Swin-L, five scales."""

from __future__ import annotations

from codetr.data.config import Augmentation, PreprocessConfig
from codetr.models.config import DetectorConfig
from codetr.training.config import OptimizerConfig
from codetr.zoo.base import COCO_CLASSES, LVIS_CLASSES, large_images, large_scale_jitter, published
from codetr.zoo.detectors import (
    co_dino_5scale_lsj_swin_large_o365tolvis,
    co_dino_5scale_swin_large,
    co_dino_5scale_swin_large_o365tococo,
)
from codetr.zoo.recipe import Recipe

_WEIGHTS = "swin_large_patch4_window12_384_22k"
_SCHEDULES = {"1x": (12, -1), "2x": (24, -4), "3x": (36, -6)}
"""Epochs, and the one, counted from the end, from which on the learning rate is a tenth."""


def co_dino_5scale_swin_large_1x_coco() -> Recipe:
    """Build the recipe with DETR's augmentation."""
    return _swin("co_dino_5scale_swin_large_1x_coco", "1x", co_dino_5scale_swin_large(COCO_CLASSES, drop_path=0.3))


def co_dino_5scale_swin_large_2x_coco() -> Recipe:
    """Build the recipe with DETR's augmentation and the 2x schedule."""
    return _swin("co_dino_5scale_swin_large_2x_coco", "2x", co_dino_5scale_swin_large(COCO_CLASSES, drop_path=0.5))


def co_dino_5scale_swin_large_3x_coco() -> Recipe:
    """Build the recipe with DETR's augmentation and the 3x schedule."""
    return _swin("co_dino_5scale_swin_large_3x_coco", "3x", co_dino_5scale_swin_large(COCO_CLASSES, drop_path=0.6))


def co_dino_5scale_lsj_swin_large_1x_coco() -> Recipe:
    """Build the recipe with large-scale jitter."""
    model = co_dino_5scale_swin_large(COCO_CLASSES, drop_path=0.3, lsj=True)
    return _swin("co_dino_5scale_lsj_swin_large_1x_coco", "1x", model)


def co_dino_5scale_lsj_swin_large_2x_coco() -> Recipe:
    """Build the recipe with large-scale jitter and the 2x schedule."""
    model = co_dino_5scale_swin_large(COCO_CLASSES, drop_path=0.5, lsj=True)
    return _swin("co_dino_5scale_lsj_swin_large_2x_coco", "2x", model)


def co_dino_5scale_lsj_swin_large_3x_coco() -> Recipe:
    """Build the recipe with large-scale jitter and the 3x schedule."""
    model = co_dino_5scale_swin_large(COCO_CLASSES, drop_path=0.5, lsj=True)
    return _swin("co_dino_5scale_lsj_swin_large_3x_coco", "3x", model)


def co_dino_5scale_lsj_swin_large_3x_lvis() -> Recipe:
    """Build the recipe for LVIS with large-scale jitter. Despite its name, the official one has 12 epochs."""
    model = co_dino_5scale_swin_large(LVIS_CLASSES, drop_path=0.3, lsj=True)
    return _swin("co_dino_5scale_lsj_swin_large_3x_lvis", "1x", model, lvis=True)


def _swin(name: str, schedule: str, model: DetectorConfig, *, lvis: bool = False) -> Recipe:
    epochs, milestone = _SCHEDULES[schedule]
    preprocess, augment = (None, None) if model.padding_mask else large_scale_jitter(1280)
    return published(
        name,
        f"Co-DINO, Swin-L{_jitter(model)}",
        model,
        backbone_weights=_WEIGHTS,
        batch_size=1,
        epochs=epochs,
        milestones=(milestone,),
        preprocess=preprocess,
        augment=augment,
        lvis=lvis,
    )


def co_dino_5scale_swin_large_16e_o365tococo() -> Recipe:
    """Build the recipe with large images, to start from a detector pretrained on Objects365."""
    model = co_dino_5scale_swin_large_o365tococo(COCO_CLASSES)
    return _after_objects365("co_dino_5scale_swin_large_16e_o365tococo", model, *large_images(2048))


def co_dino_5scale_lsj_swin_large_16e_o365tolvis() -> Recipe:
    """Build the recipe for LVIS with large-scale jitter, to start from a detector pretrained on Objects365."""
    model = co_dino_5scale_lsj_swin_large_o365tolvis(LVIS_CLASSES)
    return _after_objects365(
        "co_dino_5scale_lsj_swin_large_16e_o365tolvis", model, *large_scale_jitter(1536), lvis=True
    )


def _after_objects365(
    name: str, model: DetectorConfig, preprocess: PreprocessConfig, augment: Augmentation, *, lvis: bool = False
) -> Recipe:
    return published(
        name,
        f"Co-DINO, Swin-L{_jitter(model)}, after Objects365",
        model,
        backbone_weights=_WEIGHTS,
        batch_size=1,
        epochs=16,
        milestones=(-8,),
        optimizer=OptimizerConfig(lr=1e-4),
        preprocess=preprocess,
        augment=augment,
        lvis=lvis,
    )


def _jitter(model: DetectorConfig) -> str:
    return "" if model.padding_mask else ", large-scale jitter"
