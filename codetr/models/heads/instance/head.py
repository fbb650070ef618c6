"""The instance head: masks of the query head's detections, as in the published ViT models for instance segmentation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codetr.models.assignment.max_iou import MaxIoUAssigner
from codetr.models.assignment.random_sampler import Permute, RandomSampler
from codetr.models.config import InstanceHeadConfig
from codetr.models.heads.instance.mask_iou import MaskIoUHead, mask_iou_loss, mask_ious
from codetr.models.heads.instance.refine_mask import RefineMaskHead
from codetr.models.heads.roi.pooling import boxes_to_rois, pool_regions
from codetr.models.heads.roi.sampled_regions import sample_regions
from codetr.models.losses.boundary import boundary_aware_losses, refine_masks
from codetr.models.losses.normalizer import Normalizer
from codetr.models.masks import RegionMasks
from codetr.models.structures import Detections, ImageBatch, Target

_SCORED_STAGE = 1
"""The stage whose mask IoU is predicted: twice as fine as the pooled features."""

CHUNK = 128
"""Regions whose masks are computed at a time by default: the features of a thousand would need gigabytes."""


class InstanceHead(nn.Module):
    """Predict masks of boxes, refined from coarse to fine, and their mask IoU.

    Args:
        config: sizes, sampling and loss weights.
        num_classes: classes without background.
        channels: channels of all feature maps.
        strides: strides in pixels of the maps to pool from; coarser maps are not used.
    """

    def __init__(self, config: InstanceHeadConfig, num_classes: int, channels: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.config, self.num_classes, self.strides = config, num_classes, tuple(strides)
        self.assign = MaxIoUAssigner(config.positive_iou, config.positive_iou)
        self.sample = RandomSampler(config.samples, config.positive_fraction)
        self.mask = RefineMaskHead(config, num_classes, channels, self.strides[0])
        self.iou = MaskIoUHead(config, num_classes, channels)

    def pool(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Pool the features (regions, channels, pool_size, pool_size) of RoIs (regions, 5): image and xyxy pixels."""
        return pool_regions(
            features[: len(self.strides)],
            self.strides,
            rois,
            size=self.config.pool_size,
            finest_scale=self.config.finest_scale,
        )

    def loss(
        self,
        features: Sequence[Tensor],
        proposals: Sequence[Tensor],
        targets: Sequence[Target],
        normalizer: Normalizer,
        permute: Permute,
    ) -> dict[str, Tensor]:
        """Compute the weighted losses `instance.mask` and `instance.iou`.

        Args:
            features: feature maps (batch, channels, height, width), fine to coarse.
            proposals: boxes (n, 4) xyxy pixels to train on for every image, without gradient.
            targets: ground truth of every image, with masks; its boxes are added to the proposals.
            normalizer: called with the numbers of regions, of cells near boundaries, and of masks with an overlap.
            permute: draws which regions are sampled. Only foreground regions enter the losses.
        """
        sampled = [
            sample_regions(boxes, target, self.assign, self.sample, permute, self.num_classes)
            for boxes, target in zip(proposals, targets, strict=True)
        ]
        rois = boxes_to_rois([regions.foreground_boxes for regions in sampled])
        labels = torch.cat([regions.foreground_labels for regions in sampled])
        pooled = self.pool(features, rois)
        stages = self.mask(pooled, self.mask.semantic_maps(features[0]), rois, labels)
        pairs = list(zip(sampled, targets, strict=True))
        target_masks = [
            torch.cat([regions.target_masks(target, logits.shape[-1]) for regions, target in pairs])
            for logits in stages
        ]
        weights = self.config.stage_weights
        stage_losses = boundary_aware_losses(stages, target_masks, normalizer)
        losses = {
            "instance.mask": self.config.mask_weight
            * torch.stack([weight * loss for weight, loss in zip(weights, stage_losses, strict=True)]).sum()
        }
        fractions = torch.cat([regions.target_mask_fractions(target) for regions, target in pairs])
        scored = stages[_SCORED_STAGE]
        predicted = self.iou(pooled, scored).gather(1, labels[:, None]).squeeze(1)
        ious = mask_ious(scored.detach(), target_masks[_SCORED_STAGE], fractions)
        losses["instance.iou"] = self.config.iou_weight * mask_iou_loss(predicted, ious, normalizer)
        return losses

    def masks(
        self, features: Sequence[Tensor], semantic_maps: Sequence[Tensor], rois: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict masks of regions and their IoU with the masks of their objects.

        Args:
            features: feature maps (batch, channels, height, width), fine to coarse.
            semantic_maps: result of `self.mask.semantic_maps` for the finest one.
            rois: (regions, 5) index of the image and xyxy pixels.
            labels: (regions,) int64, class of each region.

        Returns:
            Probabilities (regions, side, side) and predicted mask IoU (regions,), both in [0, 1].
        """
        pooled = self.pool(features, rois)
        stages = self.mask(pooled, semantic_maps, rois, labels)
        ious = self.iou(pooled, stages[_SCORED_STAGE]).gather(1, labels[:, None]).squeeze(1)
        return refine_masks(stages[_SCORED_STAGE:]).sigmoid(), ious

    @torch.no_grad()
    def add_masks(
        self, features: Sequence[Tensor], detections: Sequence[Detections], batch: ImageBatch, *, chunk: int = CHUNK
    ) -> None:
        """Add masks and mask scores to the detections of every image, in place.

        Args:
            features: feature maps (batch, channels, height, width), fine to coarse.
            detections: detections of every image, in pixels of the original image.
            batch: the images.
            chunk: regions whose masks are computed at a time.
        """
        for image, det in enumerate(detections):
            maps = [feature[image : image + 1] for feature in features]
            semantic = self.mask.semantic_maps(maps[0])
            grids, ious = [], []
            boxes = batch.to_input_pixels(det.boxes, image)
            for part, labels in zip(boxes.split(chunk), det.labels.split(chunk), strict=True):
                part_grids, part_ious = self.masks(maps, semantic, boxes_to_rois([part]), labels)
                grids.append(part_grids)
                ious.append(part_ious)
            det.masks = RegionMasks(torch.cat(grids), det.boxes, batch.original_sizes[image])
            det.mask_scores = det.scores * torch.cat(ious)
