"""A recipe for a Co-DINO that trains from random weights within minutes on two CPU cores."""

from __future__ import annotations

from codetr.data.config import AugmentConfig, LoaderConfig, PreprocessConfig
from codetr.models.backbones.config import ResNetConfig
from codetr.models.config import (
    ATSSHeadConfig,
    CoDINOHeadConfig,
    DenoisingConfig,
    DetectorConfig,
    ProposalConfig,
    RoIHeadConfig,
    RPNConfig,
)
from codetr.models.transformer.config import TransformerConfig
from codetr.training.config import EmaConfig, OptimizerConfig, ScheduleConfig, TrainingConfig
from codetr.zoo.recipe import Recipe


def tiny() -> Recipe:
    """Build the recipe: every part of Co-DINO, in miniature, for tests and demonstrations.

    There are no pretrained weights, so the backbone has group normalisation (frozen batch statistics require
    pretraining), none of it is frozen, and it has the full learning rate.
    """
    proposals = ProposalConfig(candidates=200, proposals=50)
    model = DetectorConfig(
        num_classes=5,
        backbone=ResNetConfig(depth=26, base_width=24, out_stages=(1, 2, 3), frozen_stages=-1, norm="group"),
        channels=64,
        query=CoDINOHeadConfig(
            queries=40,
            transformer=TransformerConfig(encoder_layers=2, decoder_layers=2, feedforward_channels=256),
            denoising=DenoisingConfig(queries=20),
            max_detections=50,
        ),
        rpn=RPNConfig(samples=32, train_proposals=proposals, test_proposals=proposals),
        roi=RoIHeadConfig(finest_scale=28, fc_channels=128, samples=32, max_auxiliary_queries=20),
        atss=ATSSHeadConfig(max_auxiliary_queries=20),
    )
    return Recipe(
        name="tiny",
        description="Co-DINO in miniature, learns drawn shapes on a CPU",
        model=model,
        backbone_weights=None,
        preprocess=PreprocessConfig(short_side=128, long_side=160),
        augment=AugmentConfig(short_sides=(112, 128, 144), long_side=176, crop=None),
        loader=LoaderConfig(batch_size=4, workers=1),
        training=TrainingConfig(
            epochs=4,
            clip_norm=1.0,
            optimizer=OptimizerConfig(lr=1e-3, reference_batch=4, lr_multipliers={}),
            schedule=ScheduleConfig(warmup_iterations=50, milestones=(-1,)),
            ema=EmaConfig(momentum=5e-3, warmup_iterations=100),
        ),
    )
