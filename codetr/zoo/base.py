"""Settings that the published recipes share (Zong, Song and Liu, ICCV 2023, section 4.1).

An effective batch is 16 images: 8 processes of 2, or 16 processes of 1 for the large backbones.
"""

from __future__ import annotations

from codetr.data.config import (
    Augmentation,
    AugmentConfig,
    JitterConfig,
    LoaderConfig,
    PreprocessConfig,
    RepeatFactorConfig,
    ShuffleConfig,
)
from codetr.models.config import DetectorConfig
from codetr.training.config import EmaConfig, OptimizerConfig, ScheduleConfig, TrainingConfig
from codetr.zoo.recipe import Recipe

COCO_CLASSES = 80
LVIS_CLASSES = 1203
REFERENCE_BATCH = 16
"""Images per step that the published learning rates are meant for."""


def published(
    name: str,
    description: str,
    model: DetectorConfig,
    *,
    backbone_weights: str,
    batch_size: int = 2,
    epochs: int = 12,
    milestones: tuple[int, ...] = (-1,),
    warmup_iterations: int = 0,
    ema: EmaConfig | None = None,
    optimizer: OptimizerConfig | None = None,
    preprocess: PreprocessConfig | None = None,
    augment: Augmentation | None = None,
    lvis: bool = False,
) -> Recipe:
    """Build a published recipe; the defaults are those of most recipes.

    Args:
        name: name of the official configuration.
        description: one line of text.
        model: see `Recipe`.
        backbone_weights: see `Recipe`.
        batch_size: images per process.
        epochs: passes over the training split.
        milestones: epochs, counted from the end, from whose start the learning rate is divided by ten.
        warmup_iterations: steps of the linear warm-up.
        ema: see `TrainingConfig`.
        optimizer: learning rates and weight decay; by default 2e-4, and a tenth of it for the backbone.
        preprocess: by default images of at most 800×1333 pixels.
        augment: by default DETR's augmentation.
        lvis: repeat images with rare classes, for LVIS.
    """
    return Recipe(
        name=name,
        description=f"{description}, {epochs} epochs",
        model=model,
        backbone_weights=backbone_weights,
        preprocess=preprocess or PreprocessConfig(),
        augment=augment or AugmentConfig(),
        loader=LoaderConfig(batch_size=batch_size, sampling=RepeatFactorConfig() if lvis else ShuffleConfig()),
        training=TrainingConfig(
            epochs=epochs,
            optimizer=(optimizer or OptimizerConfig()).model_copy(update={"reference_batch": REFERENCE_BATCH}),
            schedule=ScheduleConfig(warmup_iterations=warmup_iterations, milestones=milestones),
            ema=ema,
            # As in the paper, whose numbers are those of the last epoch.
            publish="last",
        ),
    )


def large_scale_jitter(canvas: int) -> tuple[PreprocessConfig, JitterConfig]:
    """Return preprocessing and augmentation of models trained with large-scale jitter on a canvas of this side."""
    return PreprocessConfig(canvas=canvas), JitterConfig(canvas=canvas)


def large_images(long_side: int) -> tuple[PreprocessConfig, AugmentConfig]:
    """Return preprocessing and augmentation of models trained on images of up to 1536×`long_side` pixels."""
    return (
        PreprocessConfig(short_side=1280, long_side=2048, pad_divisor=32),
        AugmentConfig(short_sides=tuple(range(480, 1537, 32)), long_side=long_side),
    )
