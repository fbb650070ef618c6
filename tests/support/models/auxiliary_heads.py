"""Small auxiliary heads and inputs for them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codetr.models.config import ATSSHeadConfig, ProposalConfig, RoIHeadConfig, RPNConfig
from codetr.models.heads.dense.atss import ATSSHead
from codetr.models.heads.dense.rpn import RPNHead
from codetr.models.heads.query.positive_queries import PositiveQueries
from codetr.models.heads.roi.box_head import RoIHead
from codetr.models.losses.normalizer import Normalizer
from codetr.models.structures import ImageBatch, Target

CHANNELS, CLASSES, STRIDES = 8, 3, (8, 16, 32)
CANVAS = (64, 96)


@dataclass
class Heads:
    rpn: RPNHead
    roi: RoIHead
    atss: ATSSHead

    def losses(
        self, features: list[Tensor], batch: ImageBatch, targets: list[Target], normalizer: Normalizer
    ) -> tuple[dict[str, Tensor], list[PositiveQueries]]:
        """As the detector calls them."""
        losses, proposals = self.rpn.loss(features, batch, targets, normalizer, shuffle)
        roi_losses, roi_queries = self.roi.loss(features, proposals, batch, targets, normalizer, shuffle)
        atss_losses, atss_queries = self.atss.loss(features, batch, targets, normalizer, shuffle)
        return losses | roi_losses | atss_losses, [roi_queries, atss_queries]


def shuffle(count: int, device: torch.device) -> Tensor:
    return torch.randperm(count, device=device)


def build_heads() -> Heads:
    """Heads with random weights, the same at every call."""
    torch.manual_seed(0)
    rpn = RPNConfig(samples=32, train_proposals=ProposalConfig(candidates=50, proposals=30))
    roi = RoIHeadConfig(finest_scale=28, fc_channels=16, samples=32)
    return Heads(
        RPNHead(rpn, CHANNELS, STRIDES),
        RoIHead(roi, CLASSES, CHANNELS, STRIDES[:2], groups=4),
        ATSSHead(ATSSHeadConfig(), CLASSES, CHANNELS, STRIDES, groups=4),
    )


def feature_maps(images: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(images)
    return [
        torch.randn(images, CHANNELS, CANVAS[0] // stride, CANVAS[1] // stride, generator=generator).requires_grad_()
        for stride in STRIDES
    ]


def image_batch(*sizes: tuple[int, int]) -> ImageBatch:
    originals = [(height * 2, width * 2) for height, width in sizes]
    return ImageBatch(torch.zeros(len(sizes), 3, *CANVAS), list(sizes), list(sizes), originals)


def target(*boxes: tuple[float, float, float, float]) -> Target:
    return Target(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.arange(len(boxes)) % CLASSES)


def check_trainable(losses: dict[str, Tensor], parameters: list[nn.Parameter]) -> None:
    """Every loss is a finite number and every parameter gets a finite gradient."""
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values()), losses
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in parameters)
