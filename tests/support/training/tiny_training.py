"""A very small real detector and images for it, with everything that is random in a training step pinned on request."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from codetr.models.backbones.config import ResNetConfig
from codetr.models.config import (
    ATSSHeadConfig,
    CoDeformableHeadConfig,
    CoDINOHeadConfig,
    DenoisingConfig,
    DetectorConfig,
    ProposalConfig,
    RoIHeadConfig,
    RPNConfig,
)
from codetr.models.detector import CoDETR
from codetr.models.losses.normalizer import Normalizer
from codetr.models.random_draws import DenoisingNoise, RandomDraws
from codetr.models.structures import ImageBatch, Target
from codetr.models.transformer.config import TransformerConfig

SIZE = 64
CLASSES = 3
OFF_GRID = 0.37


def tiny_config(kind: str = "co_dino") -> DetectorConfig:
    """All heads and losses of the full detector, a hundredth of its width."""
    transformer = TransformerConfig(
        encoder_layers=1, decoder_layers=2, attention_heads=2, sampling_points=2, feedforward_channels=16
    )
    query = (
        CoDINOHeadConfig(queries=12, transformer=transformer, denoising=DenoisingConfig(queries=6), max_detections=10)
        if kind == "co_dino"
        else CoDeformableHeadConfig(queries=12, transformer=transformer, max_detections=10)
    )
    return DetectorConfig(
        num_classes=CLASSES,
        backbone=ResNetConfig(depth=26, base_width=4, out_stages=(1, 2, 3), frozen_stages=-1),
        channels=16,
        norm_groups=4,
        query=query,
        rpn=RPNConfig(samples=8, train_proposals=ProposalConfig(candidates=40, proposals=20)),
        roi=RoIHeadConfig(fc_channels=16, samples=12),
        atss=ATSSHeadConfig(max_auxiliary_queries=9),
    )


def images(count: int, *, seed: int = 0, objects: int = 2) -> tuple[ImageBatch, list[Target]]:
    """`count` images of noise with bright boxes, all of one size, each with as many objects."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(count, 3, SIZE, SIZE, generator=generator)
    targets = []
    for image in pixels:
        corners = torch.randint(0, SIZE // 2, (objects, 2), generator=generator).float()
        sizes = torch.randint(SIZE // 6, SIZE // 2, (objects, 2), generator=generator).float()
        labels = torch.randint(0, CLASSES, (objects,), generator=generator)
        for (x, y), (width, height), label in zip(corners.int(), sizes.int(), labels, strict=True):
            image[label, y : y + height, x : x + width] += 3
        # Not on whole pixels: an untrained detector predicts the centres of cells, and where a prediction hits its
        # target exactly, rounding decides the sign of the L1 loss's gradient.
        targets.append(Target(torch.cat([corners, corners + sizes], 1) + OFF_GRID, labels))
    sizes_ = [(SIZE, SIZE)] * count
    return ImageBatch(pixels, sizes_, sizes_, sizes_, list(range(100 * seed, 100 * seed + count))), targets


def cut(batch: ImageBatch, targets: list[Target], parts: int) -> list[tuple[ImageBatch, list[Target]]]:
    """The batch in `parts` equal micro-batches."""
    size = len(batch) // parts
    ranges = [slice(start, start + size) for start in range(0, len(batch), size)]
    return [
        (
            ImageBatch(
                batch.pixels[part],
                batch.image_sizes[part],
                batch.padded_sizes[part],
                batch.original_sizes[part],
                batch.image_ids[part],
            ),
            targets[part],
        )
        for part in ranges
    ]


class PinnedDraws(RandomDraws):
    """The same draws for every image, however images are batched."""

    def permutation(self, count: int, device: torch.device) -> Tensor:
        return torch.arange(count, device=device)

    def exponential(self, images: int, num_classes: int, device: torch.device) -> Tensor:
        return torch.arange(1.0, num_classes + 1, device=device).expand(images, -1)

    def denoising(self, copies: int, objects: int, num_classes: int, device: torch.device) -> DenoisingNoise:
        shape = (copies, objects)
        return DenoisingNoise(
            torch.ones(shape, device=device),
            torch.zeros(shape, dtype=torch.int64, device=device),
            torch.ones(*shape, 4, device=device),
            torch.full((*shape, 4), 0.3, device=device),
        )


class Pinned(nn.Module):
    """A detector trained with pinned draws."""

    def __init__(self, detector: CoDETR) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, batch: ImageBatch, targets: list[Target], normalizer: Normalizer) -> dict[str, Tensor]:
        losses = self.detector(batch, targets, normalizer, PinnedDraws())
        assert isinstance(losses, dict)
        return losses
