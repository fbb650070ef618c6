"""Recipes of Co-Deformable-DETR, all for COCO and with DETR's augmentation."""

from __future__ import annotations

from codetr.models.config import DetectorConfig
from codetr.training.config import OptimizerConfig
from codetr.zoo.base import COCO_CLASSES, published
from codetr.zoo.detectors import (
    co_deformable_detr,
    co_deformable_detr_mask_r50,
    co_deformable_detr_r50,
    co_deformable_detr_swin_large_900q,
    swin_base,
    swin_large,
    swin_small,
    swin_tiny,
)
from codetr.zoo.recipe import Recipe

# As in the official configuration; two-stage models have no parameter called reference_points.
_LR_MULTIPLIERS = {"backbone": 0.1, "sampling_offsets": 0.1, "reference_points": 0.1}


def co_deformable_detr_r50_1x_coco() -> Recipe:
    """Build the recipe with ResNet-50."""
    return published(
        "co_deformable_detr_r50_1x_coco",
        "Co-Deformable-DETR, ResNet-50",
        co_deformable_detr_r50(COCO_CLASSES),
        backbone_weights="IMAGENET1K_V1",
        optimizer=OptimizerConfig(lr_multipliers=_LR_MULTIPLIERS),
    )


def co_deformable_detr_mask_r50_1x_coco() -> Recipe:
    """Build the recipe with ResNet-50 and a mask head in the RoI head, which provides the detections."""
    return published(
        "co_deformable_detr_mask_r50_1x_coco",
        "Co-Deformable-DETR with masks, ResNet-50",
        co_deformable_detr_mask_r50(COCO_CLASSES),
        backbone_weights="IMAGENET1K_V1",
        optimizer=OptimizerConfig(lr_multipliers=_LR_MULTIPLIERS),
    )


def co_deformable_detr_swin_tiny_1x_coco() -> Recipe:
    """Build the recipe with Swin-T."""
    return _swin("tiny_1x", "Swin-T", co_deformable_detr(COCO_CLASSES, swin_tiny(drop_path=0.2)))


def co_deformable_detr_swin_tiny_3x_coco() -> Recipe:
    """Build the recipe with Swin-T and the 3x schedule."""
    return _swin("tiny_3x", "Swin-T", co_deformable_detr(COCO_CLASSES, swin_tiny(drop_path=0.3)))


def co_deformable_detr_swin_small_1x_coco() -> Recipe:
    """Build the recipe with Swin-S."""
    return _swin("small_1x", "Swin-S", co_deformable_detr(COCO_CLASSES, swin_small(drop_path=0.2)))


def co_deformable_detr_swin_small_3x_coco() -> Recipe:
    """Build the recipe with Swin-S and the 3x schedule."""
    return _swin("small_3x", "Swin-S", co_deformable_detr(COCO_CLASSES, swin_small(drop_path=0.4)))


def co_deformable_detr_swin_base_1x_coco() -> Recipe:
    """Build the recipe with Swin-B."""
    return _swin("base_1x", "Swin-B", co_deformable_detr(COCO_CLASSES, swin_base(drop_path=0.2)))


def co_deformable_detr_swin_base_3x_coco() -> Recipe:
    """Build the recipe with Swin-B and the 3x schedule."""
    return _swin("base_3x", "Swin-B", co_deformable_detr(COCO_CLASSES, swin_base(drop_path=0.4)))


def co_deformable_detr_swin_large_1x_coco() -> Recipe:
    """Build the recipe with Swin-L."""
    return _swin("large_1x", "Swin-L", co_deformable_detr(COCO_CLASSES, swin_large(drop_path=0.3)))


def co_deformable_detr_swin_large_900q_3x_coco() -> Recipe:
    """Build the recipe with Swin-L, more queries and the 3x schedule."""
    return _swin("large_900q_3x", "Swin-L, 900 queries", co_deformable_detr_swin_large_900q(COCO_CLASSES))


_SWIN_WEIGHTS = {
    "tiny": "swin_tiny_patch4_window7_224",
    "small": "swin_small_patch4_window7_224",
    "base": "swin_base_patch4_window12_384_22k",
    "large": "swin_large_patch4_window12_384_22k",
}


def _swin(variant: str, backbone: str, model: DetectorConfig) -> Recipe:
    """Build a recipe with Swin; `variant` is its size and schedule. The weight decay is larger than with ResNet."""
    longer = variant.endswith("3x")
    return published(
        f"co_deformable_detr_swin_{variant}_coco",
        f"Co-Deformable-DETR, {backbone}",
        model,
        backbone_weights=_SWIN_WEIGHTS[variant.split("_", maxsplit=1)[0]],
        epochs=36 if longer else 12,
        milestones=(-6,) if longer else (-1,),
        optimizer=OptimizerConfig(weight_decay=0.05, lr_multipliers=_LR_MULTIPLIERS),
    )
