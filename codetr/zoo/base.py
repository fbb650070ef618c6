"""What the published COCO recipes have in common (Zong, Song and Liu, ICCV 2023, section 4.1)."""

from __future__ import annotations

from codetr.data.config import AugmentConfig, LoaderConfig, PreprocessConfig
from codetr.models.config import DetectorConfig
from codetr.recipe import Recipe
from codetr.training.config import OptimizerConfig, ScheduleConfig, TrainingConfig

COCO_CLASSES = 80


def r50_coco(name: str, description: str, model: DetectorConfig, lr_multipliers: dict[str, float]) -> Recipe:
    """A ResNet-50 recipe of 12 epochs with DETR's augmentation: batch 16, as 8 processes × 2 images."""
    return Recipe(
        name=name,
        description=description,
        model=model,
        backbone_weights="IMAGENET1K_V1",
        preprocess=PreprocessConfig(),
        augment=AugmentConfig(),
        loader=LoaderConfig(batch_size=2),
        training=TrainingConfig(
            epochs=12,
            optimizer=OptimizerConfig(lr_multipliers=lr_multipliers),
            schedule=ScheduleConfig(milestones=(-1,)),
        ),
    )
