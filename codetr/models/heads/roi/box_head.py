"""The RoI head of Faster R-CNN (Ren et al., NeurIPS 2015; Girshick, "Fast R-CNN", ICCV 2015), with optional masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codetr.models.assignment.max_iou import MaxIoUAssigner
from codetr.models.assignment.random_sampler import Permute, RandomSampler
from codetr.models.config import RoIHeadConfig
from codetr.models.heads.dense.box_coder import BoxCoder
from codetr.models.heads.dense.rpn import RegionProposals
from codetr.models.heads.query.positive_queries import PositiveQueries, sample_positive_queries
from codetr.models.heads.roi.mask_branch import FCNMaskHead
from codetr.models.heads.roi.pooling import boxes_to_rois, pool_regions
from codetr.models.heads.roi.sampled_regions import SampledRegions, sample_regions
from codetr.models.layers.conv import ConvNorm
from codetr.models.losses.cross_entropy import cross_entropy_loss
from codetr.models.losses.giou import giou_loss
from codetr.models.losses.mask import mask_loss
from codetr.models.losses.normalizer import Normalizer
from codetr.models.masks import RegionMasks
from codetr.models.structures import Detections, ImageBatch, Target
from codetr.ops.nms import multiclass_nms

_MAX_QUERY_CANDIDATES = 2000
"""Most regions of an image among which positive queries are sampled, as in the reference implementation."""


class RoIHead(nn.Module):
    """Classify proposals and refine their boxes; with a mask head, also predict masks of the detections.

    Args:
        config: sizes, sampling, loss weights and test-time settings.
        num_classes: classes without background.
        channels: channels of all feature maps.
        strides: strides in pixels of the maps to pool from; coarser maps are not used.
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
        self.mask: FCNMaskHead | None = None
        if config.mask is not None:
            self.mask = FCNMaskHead(config.mask, num_classes, channels)

    def pool(self, features: Sequence[Tensor], rois: Tensor, size: int | None = None) -> Tensor:
        """Pool the features (regions, channels, size, size) of regions.

        Args:
            features: feature maps (batch, channels, height, width), fine to coarse.
            rois: (regions, 5) index of the image and xyxy pixels.
            size: cells per side, by default `pool_size` of the configuration.
        """
        return pool_regions(
            features[: len(self.strides)],
            self.strides,
            rois,
            size=size or self.config.pool_size,
            finest_scale=self.config.finest_scale,
        )

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Predict logits (regions, classes + 1), background last, and deltas (regions, classes or 1, 4), float32.

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
        proposals: Sequence[RegionProposals],
        batch: ImageBatch,
        targets: Sequence[Target],
        normalizer: Normalizer,
        permute: Permute,
    ) -> tuple[dict[str, Tensor], PositiveQueries]:
        """Compute the losses `roi.cls`, `roi.giou` and, with a mask head, `roi.mask`, and sample positive queries.

        Args:
            features: feature maps (batch, channels, height, width), fine to coarse.
            proposals: proposals of the RPN for every image.
            batch: the images.
            targets: ground truth of every image; its boxes are added to the proposals. A mask head needs masks.
            normalizer: called with the number of sampled regions, then with a mask head that of foreground regions.
            permute: draws which regions are sampled, then which become queries.

        Returns:
            Weighted scalars by name, and the queries.
        """
        sampled = [
            sample_regions(p.boxes, target, self.assign, self.sample, permute, self.num_classes)
            for p, target in zip(proposals, targets, strict=True)
        ]
        pooled = self.pool(features, boxes_to_rois([regions.boxes for regions in sampled]))
        logits, deltas = self(pooled)
        boxes = torch.cat([regions.boxes for regions in sampled])
        labels = torch.cat([regions.labels for regions in sampled])
        target_boxes = torch.cat([regions.target_boxes for regions in sampled])
        divisor = normalizer(len(labels), logits.device)
        foreground = (labels < self.num_classes).nonzero().squeeze(1)
        delta_index = torch.zeros_like(foreground) if self.config.class_agnostic else labels[foreground]
        decoded = self.coder.decode(boxes[foreground], deltas[foreground, delta_index])
        losses = {
            "roi.cls": self.config.classification_weight * cross_entropy_loss(logits, labels, None, divisor),
            "roi.giou": self.config.giou_weight * giou_loss(decoded, target_boxes[foreground], None, divisor),
        }
        if self.mask is not None:
            losses["roi.mask"] = self._mask_loss(self.mask, features, sampled, targets, normalizer)
        return losses, self._queries(sampled, pooled, batch, permute)

    @torch.no_grad()
    def detect(
        self, features: Sequence[Tensor], proposals: Sequence[RegionProposals], batch: ImageBatch
    ) -> list[Detections]:
        """Return the detections of every image in pixels of the original image, scores descending."""
        counts = [len(p.boxes) for p in proposals]
        logits, deltas = self(self.pool(features, boxes_to_rois([p.boxes for p in proposals])))
        scores = logits.softmax(dim=-1)[:, :-1].split(counts)
        detections = []
        for image, (proposal, image_deltas) in enumerate(zip(proposals, deltas.split(counts), strict=True)):
            boxes = self.coder.decode(proposal.boxes[:, None], image_deltas, batch.image_sizes[image])
            kept = multiclass_nms(
                batch.to_original_pixels(boxes, image),
                scores[image],
                self.config.nms.iou_threshold,
                score_threshold=self.config.score_threshold,
                method=self.config.nms.method,
                min_score=self.config.nms.min_score,
                limit=self.config.max_detections,
            )
            detections.append(Detections(*kept))
        if self.mask is not None:
            self._add_masks(self.mask, features, detections, batch)
        return detections

    def _mask_loss(
        self,
        head: FCNMaskHead,
        features: Sequence[Tensor],
        sampled: Sequence[SampledRegions],
        targets: Sequence[Target],
        normalizer: Normalizer,
    ) -> Tensor:
        rois = boxes_to_rois([regions.foreground_boxes for regions in sampled])
        pooled = self.pool(features, rois, head.config.pool_size)
        labels = torch.cat([regions.foreground_labels for regions in sampled])
        target_masks = torch.cat(
            [regions.target_masks(target, head.mask_size) for regions, target in zip(sampled, targets, strict=True)]
        )
        divisor = normalizer(len(labels), pooled.device)
        return head.config.weight * mask_loss(head(pooled, labels), target_masks, divisor)

    def _add_masks(
        self, head: FCNMaskHead, features: Sequence[Tensor], detections: Sequence[Detections], batch: ImageBatch
    ) -> None:
        boxes = [batch.to_input_pixels(det.boxes, image) for image, det in enumerate(detections)]
        pooled = self.pool(features, boxes_to_rois(boxes), head.config.pool_size)
        logits = head(pooled, torch.cat([det.labels for det in detections]))
        for image, (det, grids) in enumerate(zip(detections, logits.split([len(b) for b in boxes]), strict=True)):
            det.masks = RegionMasks(grids.sigmoid(), det.boxes, batch.original_sizes[image])

    def _queries(
        self, sampled: Sequence[SampledRegions], pooled: Tensor, batch: ImageBatch, permute: Permute
    ) -> PositiveQueries:
        """Sample positive queries from the first regions of every image, as many as the image with the fewest has."""
        count = min(_MAX_QUERY_CANDIDATES, *(len(regions.boxes) for regions in sampled))
        per_image = pooled.float().mean(dim=(2, 3)).split([len(regions.boxes) for regions in sampled])
        return sample_positive_queries(
            torch.stack([regions.boxes[:count] for regions in sampled]),
            torch.stack([regions.labels[:count] for regions in sampled]),
            torch.stack([regions.target_boxes[:count] for regions in sampled]),
            torch.stack([features[:count] for features in per_image]),
            batch.image_sizes,
            num_classes=self.num_classes,
            limit=self.config.max_auxiliary_queries,
            permute=permute,
            padding=self.config.auxiliary_padding,
        )
