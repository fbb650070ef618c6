"""Sampling of the regions that a region head is trained on (Girshick, "Fast R-CNN", ICCV 2015, section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from codetr.models.assignment.max_iou import MaxIoUAssigner
from codetr.models.assignment.random_sampler import Permute, RandomSampler
from codetr.models.masks import crop_masks, mask_fractions
from codetr.models.structures import Target


@dataclass
class SampledRegions:
    """Regions of one image that enter a loss, foreground first.

    Attributes:
        boxes: (regions, 4) xyxy pixels.
        labels: (regions,) int64; the number of classes means background.
        target_boxes: (regions, 4) xyxy pixels, box of the object of each region, zeros for background.
        object_indices: (foreground,) int64, index of the object of each foreground region.
    """

    boxes: Tensor
    labels: Tensor
    target_boxes: Tensor
    object_indices: Tensor

    @property
    def foreground_boxes(self) -> Tensor:
        """(foreground, 4) boxes of the foreground regions."""
        return self.boxes[: len(self.object_indices)]

    @property
    def foreground_labels(self) -> Tensor:
        """(foreground,) int64 labels of the foreground regions."""
        return self.labels[: len(self.object_indices)]

    def target_masks(self, target: Target, size: int) -> Tensor:
        """Return the object's mask within each foreground region, (foreground, size, size) bool.

        Args:
            target: ground truth of the image, with masks.
            size: cells per side.
        """
        assert target.masks is not None, "the masks of this image were not loaded"
        return crop_masks(target.masks, self.foreground_boxes, self.object_indices, size)

    def target_mask_fractions(self, target: Target) -> Tensor:
        """Return the fraction of the object's mask within each foreground region, (foreground,) float32."""
        assert target.masks is not None, "the masks of this image were not loaded"
        return mask_fractions(target.masks, self.foreground_boxes, self.object_indices)


def sample_regions(
    proposals: Tensor,
    target: Target,
    assign: MaxIoUAssigner,
    sample: RandomSampler,
    permute: Permute,
    num_classes: int,
) -> SampledRegions:
    """Sample regions of an image from its proposals and the boxes of its objects.

    Args:
        proposals: (n, 4) xyxy pixels, without gradient.
        target: ground truth of the image.
        assign: assigns proposals to objects.
        sample: samples foreground and background.
        permute: draws the order that `sample` takes from.
        num_classes: label of background.
    """
    gt_boxes = target.boxes
    boxes = torch.cat((gt_boxes, proposals))
    identity = torch.arange(1, len(gt_boxes) + 1, device=gt_boxes.device)
    assigned = torch.cat((identity, assign(proposals, gt_boxes)))
    positives, negatives = sample(assigned, permute)
    object_indices = assigned[positives] - 1
    return SampledRegions(
        boxes[torch.cat((positives, negatives))],
        F.pad(target.labels[object_indices], (0, len(negatives)), value=num_classes),
        F.pad(gt_boxes[object_indices], (0, 0, 0, len(negatives))),
        object_indices,
    )
