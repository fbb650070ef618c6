"""Masks for the detections of the query head, as in the published instance segmentation models with a ViT backbone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codetr.models.assignment.max_iou import MaxIoUAssigner
from codetr.models.assignment.random_sampler import Permute, RandomSampler
from codetr.models.config import InstanceHeadConfig
from codetr.models.heads.instance.mask_iou import MaskIoUHead, mask_overlaps, overlap_loss
from codetr.models.heads.instance.refine_mask import RefineMaskHead
from codetr.models.heads.roi.pooling import boxes_to_rois, pool_regions
from codetr.models.heads.roi.sampled_regions import sample_regions
from codetr.models.losses.boundary import boundary_aware_losses, refine
from codetr.models.losses.normalizer import Normalizer
from codetr.models.masks import RegionMasks
from codetr.models.structures import Detections, ImageBatch, Target

_SCORED_STAGE = 1
"""The stage whose masks the overlap is predicted of: twice as fine as the pooled features."""

_CHUNK = 128
"""Regions that masks are computed for at a time: the features of a thousand would take gigabytes."""


class InstanceHead(nn.Module):
    """Gives boxes masks, refined from coarse to fine, and scores them.

    Args:
        config: sizes, sampling and loss weights.
        num_classes: classes without background.
        channels: of all maps.
        strides: strides in pixels of the maps to pool from; further maps are not used.
    """

    def __init__(self, config: InstanceHeadConfig, num_classes: int, channels: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.config, self.num_classes, self.strides = config, num_classes, tuple(strides)
        self.assign = MaxIoUAssigner(config.positive_iou, config.positive_iou)
        self.sample = RandomSampler(config.samples, config.positive_fraction)
        self.mask = RefineMaskHead(config, num_classes, channels, self.strides[0])
        self.iou = MaskIoUHead(config, num_classes, channels)

    def pool(self, features: Sequence[Tensor], regions: Tensor) -> Tensor:
        """(regions, channels, pool_size, pool_size) features of regions (regions, 5): image and xyxy pixels."""
        return pool_regions(
            features[: len(self.strides)],
            self.strides,
            regions,
            size=self.config.pool_size,
            finest_scale=self.config.finest_scale,
        )

    def loss(
        self,
        features: Sequence[Tensor],
        boxes: Sequence[Tensor],
        targets: Sequence[Target],
        normalizer: Normalizer,
        permute: Permute,
    ) -> dict[str, Tensor]:
        """Weighted losses `instance.mask` and `instance.iou`.

        Args:
            features: maps (batch, channels, height, width), fine to coarse.
            boxes: detections (n, 4) xyxy pixels of every image, without gradient.
            targets: ground truth of every image, with masks; its boxes are trained on too.
            normalizer: asked for the numbers of regions, of cells near boundaries, and of masks that overlap.
            permute: draws which regions are sampled. Only foreground is trained on.
        """
        sampled = [
            sample_regions(found, target, self.assign, self.sample, permute, self.num_classes)
            for found, target in zip(boxes, targets, strict=True)
        ]
        regions = boxes_to_rois([image.foreground for image in sampled])
        labels = torch.cat([image.labels[: len(image.owners)] for image in sampled])
        pooled = self.pool(features, regions)
        stages = self.mask(pooled, self.mask.semantic_maps(features[0]), regions, labels)
        wanted = [
            torch.cat([image.masks(target, logits.shape[-1]) for image, target in zip(sampled, targets, strict=True)])
            for logits in stages
        ]
        weights = self.config.stage_weights
        masks = boundary_aware_losses(stages, wanted, normalizer)
        losses = {
            "instance.mask": self.config.mask_weight
            * torch.stack([weight * loss for weight, loss in zip(weights, masks, strict=True)]).sum()
        }
        shares = torch.cat([image.shares(target) for image, target in zip(sampled, targets, strict=True)])
        scored = stages[_SCORED_STAGE]
        predicted = self.iou(pooled, scored).gather(1, labels[:, None]).squeeze(1)
        overlaps = mask_overlaps(scored.detach(), wanted[_SCORED_STAGE], shares)
        losses["instance.iou"] = self.config.iou_weight * overlap_loss(predicted, overlaps, normalizer)
        return losses

    def masks(
        self, features: Sequence[Tensor], semantic_maps: Sequence[Tensor], regions: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Masks of regions, and how much they are expected to overlap their objects.

        Args:
            features: maps (batch, channels, height, width), fine to coarse.
            semantic_maps: what `self.mask.semantic_maps` makes of the finest one.
            regions: (regions, 5) index of the image and xyxy pixels.
            labels: (regions,) int64, whose masks are wanted.

        Returns:
            (regions, side, side) probabilities and (regions,) overlaps, both in [0, 1].
        """
        pooled = self.pool(features, regions)
        stages = self.mask(pooled, semantic_maps, regions, labels)
        overlaps = self.iou(pooled, stages[_SCORED_STAGE]).gather(1, labels[:, None]).squeeze(1)
        return refine(stages[_SCORED_STAGE:]).sigmoid(), overlaps

    @torch.no_grad()
    def add_masks(self, features: Sequence[Tensor], detections: Sequence[Detections], batch: ImageBatch) -> None:
        """Give the detections of every image masks and scores of these, in place.

        Args:
            features: maps (batch, channels, height, width), fine to coarse.
            detections: with boxes in pixels of the original images.
            batch: the images.
        """
        for image, found in enumerate(detections):
            maps = [feature[image : image + 1] for feature in features]
            semantic = self.mask.semantic_maps(maps[0])
            grids, overlaps = [], []
            boxes = batch.to_input_pixels(found.boxes, image)
            for part, labels in zip(boxes.split(_CHUNK), found.labels.split(_CHUNK), strict=True):
                grid, overlap = self.masks(maps, semantic, boxes_to_rois([part]), labels)
                grids.append(grid)
                overlaps.append(overlap)
            found.masks = RegionMasks(torch.cat(grids), found.boxes, batch.original_sizes[image])
            found.mask_scores = found.scores * torch.cat(overlaps)
