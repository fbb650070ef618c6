"""The box head of Faster R-CNN (Ren et al., NeurIPS 2015; Girshick, "Fast R-CNN", ICCV 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codetr.models.assigners.max_iou import MaxIoUAssigner
from codetr.models.box_coder import BoxCoder
from codetr.models.config import RoIHeadConfig
from codetr.models.conv import ConvNorm
from codetr.models.heads.auxiliary import AuxiliaryQueries, auxiliary_queries
from codetr.models.heads.dense import Proposals, to_original
from codetr.models.heads.roi_pooling import pool_regions
from codetr.models.losses.cross_entropy import cross_entropy_loss
from codetr.models.losses.giou import giou_loss
from codetr.models.normalizer import Normalizer
from codetr.models.samplers import Permute, RandomSampler
from codetr.models.structures import Detections, ImageBatch, Target
from codetr.ops.nms import multiclass_nms

_MAX_AUXILIARY_CANDIDATES = 2000


@dataclass
class SampledRegions:
    """Regions of one image that the loss sees, foreground first.

    Attributes:
        boxes: (regions, 4) xyxy pixels.
        labels: (regions,) int64; the number of classes means background.
        targets: (regions, 4) xyxy pixels of the object, zeros for background.
    """

    boxes: Tensor
    labels: Tensor
    targets: Tensor


class RoIHead(nn.Module):
    """Classifies proposals and refines their boxes.

    Args:
        config: sizes, sampling, loss weights and test-time settings.
        num_classes: classes without background.
        channels: channels of all maps.
        strides: strides in pixels of the maps to pool from; further maps are not used.
        groups: groups of the normalisations.
    """

    def __init__(
        self, config: RoIHeadConfig, num_classes: int, channels: int, strides: Sequence[int], groups: int = 32
    ) -> None:
        super().__init__()
        self.config, self.num_classes, self.strides = config, num_classes, tuple(strides)
        self.coder = BoxCoder(config.delta_stds)
        self.assign = MaxIoUAssigner(config.positive_iou, config.positive_iou)
        self.sample = RandomSampler(config.samples, config.positive_fraction)
        self.convs = nn.ModuleList(
            ConvNorm(channels, channels, groups=groups, kernel_size=3) for _ in range(config.shared_convs)
        )
        widths = [channels * config.pool_size**2] + [config.fc_channels] * config.shared_fcs
        fcs = [nn.Linear(width, config.fc_channels) for width in widths[:-1]]
        self.fcs = nn.ModuleList(fcs)
        self.classifier = nn.Linear(widths[-1], num_classes + 1)
        self.deltas = nn.Linear(widths[-1], 4 * (1 if config.class_agnostic else num_classes))
        for fc in fcs:
            nn.init.xavier_uniform_(fc.weight)
            nn.init.zeros_(fc.bias)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.classifier.bias)
        nn.init.zeros_(self.deltas.bias)

    def pool(self, features: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """(regions, channels, pool_size, pool_size) features of every image's boxes (n, 4) xyxy pixels."""
        return pool_regions(
            features[: len(self.strides)],
            self.strides,
            boxes,
            size=self.config.pool_size,
            finest_scale=self.config.finest_scale,
        )

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (regions, classes + 1), background last, and deltas (regions, classes or 1, 4), float32.

        Args:
            pooled: (regions, channels, pool_size, pool_size).
        """
        for conv in self.convs:
            pooled = F.relu(conv(pooled))
        hidden = pooled.flatten(1)
        for fc in self.fcs:
            hidden = F.relu(fc(hidden))
        return self.classifier(hidden).float(), self.deltas(hidden).float().unflatten(1, (-1, 4))

    def loss(
        self,
        features: Sequence[Tensor],
        proposals: Sequence[Proposals],
        batch: ImageBatch,
        targets: Sequence[Target],
        normalizer: Normalizer,
        permute: Permute,
    ) -> tuple[dict[str, Tensor], AuxiliaryQueries]:
        """Weighted losses `roi.cls` and `roi.giou`, and the sampled regions as queries.

        Args:
            features: maps (batch, channels, height, width), fine to coarse.
            proposals: of the RPN.
            batch: the images.
            targets: ground truth of every image; its boxes are proposals too.
            normalizer: asked once, for the number of sampled regions.
            permute: draws which regions are sampled, then which become queries.
        """
        sampled = [self._sample(p.boxes, target, permute) for p, target in zip(proposals, targets, strict=True)]
        pooled = self.pool(features, [regions.boxes for regions in sampled])
        logits, deltas = self(pooled)
        boxes = torch.cat([regions.boxes for regions in sampled])
        labels = torch.cat([regions.labels for regions in sampled])
        wanted = torch.cat([regions.targets for regions in sampled])
        divisor = normalizer(len(labels), logits.device)
        foreground = (labels < self.num_classes).nonzero().squeeze(1)
        which = torch.zeros_like(foreground) if self.config.class_agnostic else labels[foreground]
        decoded = self.coder.decode(boxes[foreground], deltas[foreground, which])
        losses = {
            "roi.cls": self.config.classification_weight * cross_entropy_loss(logits, labels, None, divisor),
            "roi.giou": self.config.giou_weight * giou_loss(decoded, wanted[foreground], None, divisor),
        }
        return losses, self._queries(sampled, pooled, batch, permute)

    @torch.no_grad()
    def detect(self, features: Sequence[Tensor], proposals: Sequence[Proposals], batch: ImageBatch) -> list[Detections]:
        """Detections of every image in original pixels, best first."""
        counts = [len(p.boxes) for p in proposals]
        logits, deltas = self(self.pool(features, [p.boxes for p in proposals]))
        scores = logits.softmax(dim=-1)[:, :-1].split(counts)
        detections = []
        for image, (proposal, image_deltas) in enumerate(zip(proposals, deltas.split(counts), strict=True)):
            boxes = self.coder.decode(proposal.boxes[:, None], image_deltas, batch.image_sizes[image])
            found = multiclass_nms(
                to_original(boxes, batch, image),
                scores[image],
                self.config.nms.iou_threshold,
                score_threshold=self.config.score_threshold,
                method=self.config.nms.method,
                min_score=self.config.nms.min_score,
                limit=self.config.max_detections,
            )
            detections.append(Detections(*found))
        return detections

    def _sample(self, proposals: Tensor, target: Target, permute: Permute) -> SampledRegions:
        objects = target.boxes
        boxes = torch.cat((objects, proposals))
        itself = torch.arange(1, len(objects) + 1, device=objects.device)
        assigned = torch.cat((itself, self.assign(proposals, objects)))
        positives, negatives = self.sample(assigned, permute)
        owners = assigned[positives] - 1
        return SampledRegions(
            boxes[torch.cat((positives, negatives))],
            F.pad(target.labels[owners], (0, len(negatives)), value=self.num_classes),
            F.pad(objects[owners], (0, 0, 0, len(negatives))),
        )

    def _queries(
        self, sampled: Sequence[SampledRegions], pooled: Tensor, batch: ImageBatch, permute: Permute
    ) -> AuxiliaryQueries:
        """Queries of the first regions of every image, as many as the image with the fewest has."""
        count = min(_MAX_AUXILIARY_CANDIDATES, *(len(regions.boxes) for regions in sampled))
        per_image = pooled.float().mean(dim=(2, 3)).split([len(regions.boxes) for regions in sampled])
        return auxiliary_queries(
            torch.stack([regions.boxes[:count] for regions in sampled]),
            torch.stack([regions.labels[:count] for regions in sampled]),
            torch.stack([regions.targets[:count] for regions in sampled]),
            torch.stack([features[:count] for features in per_image]),
            batch.image_sizes,
            num_classes=self.num_classes,
            limit=self.config.max_auxiliary_queries,
            permute=permute,
        )
