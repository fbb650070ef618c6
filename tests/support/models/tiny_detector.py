"""Detectors small enough to train a step in a fraction of a second, and batches for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from codetr.models.backbones.config import ResNetConfig, SwinConfig
from codetr.models.config import (
    CoDeformableHeadConfig,
    CoDINOHeadConfig,
    DenoisingConfig,
    DetectorConfig,
    DetectorKind,
    ProposalConfig,
    RoIHeadConfig,
    RPNConfig,
)
from codetr.models.structures import ImageBatch, Target
from codetr.models.transformer.config import TransformerConfig

KINDS: tuple[DetectorKind, ...] = ("co_deformable", "co_dino")


def tiny_config(kind: DetectorKind, num_classes: int = 3, **changes: Any) -> DetectorConfig:
    """A detector of `kind` with all its parts but masks; `changes` replace fields of the configuration."""
    transformer = TransformerConfig(encoder_layers=1, decoder_layers=2, attention_heads=4, feedforward_channels=32)
    few = ProposalConfig(candidates=50, proposals=30)
    values: dict[str, Any] = {
        "num_classes": num_classes,
        "channels": 32,
        "norm_groups": 8,
        "backbone": ResNetConfig(depth=26, base_width=4, out_stages=(1, 2, 3)),
        "query": CoDeformableHeadConfig(queries=20, transformer=transformer, max_detections=15)
        if kind == "co_deformable"
        else CoDINOHeadConfig(
            queries=20, transformer=transformer, denoising=DenoisingConfig(queries=10), max_detections=15
        ),
        "rpn": RPNConfig(samples=32, train_proposals=few, test_proposals=few),
        "roi": RoIHeadConfig(finest_scale=28, fc_channels=16, samples=32),
    }
    return DetectorConfig(**(values | changes))


def tiny_swin(**changes: Any) -> SwinConfig:
    """A Swin Transformer without stochastic depth; `changes` replace fields of the configuration."""
    values = {"width": 8, "depths": (2, 2, 2, 2), "attention_heads": (1, 2, 2, 4), "window_size": 4, "drop_path": 0.0}
    return SwinConfig.parse(values | changes)


def random_batch(
    objects: Sequence[int], num_classes: int = 3, *, canvas: tuple[int, int] = (64, 96), seed: int = 0
) -> tuple[ImageBatch, list[Target]]:
    """Images of noise with so many random objects, ellipses, each; every image but the first is padded."""
    generator = torch.Generator().manual_seed(seed)
    height, width = canvas
    sizes = [(height - 7 * image, width - 5 * image) for image in range(len(objects))]
    pixels = torch.zeros(len(objects), 3, height, width)
    targets = []
    for image, ((rows, columns), count) in enumerate(zip(sizes, objects, strict=True)):
        pixels[image, :, :rows, :columns] = torch.randn(3, rows, columns, generator=generator)
        corners = torch.rand(count, 2, generator=generator) * torch.tensor([columns / 2, rows / 2])
        extents = 2 + torch.rand(count, 2, generator=generator) * torch.tensor([columns / 2 - 2, rows / 2 - 2])
        labels = torch.randint(num_classes, (count,), generator=generator)
        boxes = torch.cat((corners, corners + extents), dim=1)
        targets.append(Target(boxes, labels, ellipses(boxes, rows, columns)))
    return ImageBatch(pixels, sizes, sizes, [(2 * rows, 2 * columns) for rows, columns in sizes]), targets


def ellipses(boxes: Tensor, height: int, width: int) -> Tensor:
    """(objects, height, width) bool masks that fill boxes (objects, 4) xyxy as ellipses do."""
    centers, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    offsets = (torch.stack((x, y), dim=-1) - centers[:, None, None]) / (sides[:, None, None] / 2)
    return offsets.square().sum(dim=-1) <= 1
