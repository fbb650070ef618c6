"""Which regions of an image a region head is trained on (Girshick, "Fast R-CNN", ICCV 2015, section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from codetr.models.assignment.max_iou import MaxIoUAssigner
from codetr.models.assignment.random_sampler import Permute, RandomSampler
from codetr.models.masks import area_within, crop_masks
from codetr.models.structures import Target


@dataclass
class SampledRegions:
    """Regions of one image that a loss sees, foreground first.

    Attributes:
        boxes: (regions, 4) xyxy pixels.
        labels: (regions,) int64; the number of classes means background.
        targets: (regions, 4) xyxy pixels of the object, zeros for background.
        owners: (foreground,) int64, the object of each foreground region.
    """

    boxes: Tensor
    labels: Tensor
    targets: Tensor
    owners: Tensor

    @property
    def foreground(self) -> Tensor:
        """(foreground, 4) boxes of the foreground regions."""
        return self.boxes[: len(self.owners)]

    def masks(self, target: Target, size: int) -> Tensor:
        """(foreground, size, size) bool: the object's mask within each foreground region.

        Args:
            target: with masks, that of the image.
            size: cells per side.
        """
        assert target.masks is not None, "the masks of this image were not loaded"
        return crop_masks(target.masks, self.foreground, self.owners, size)

    def shares(self, target: Target) -> Tensor:
        """(foreground,) which share of the object's mask lies within each foreground region."""
        assert target.masks is not None, "the masks of this image were not loaded"
        return area_within(target.masks, self.foreground, self.owners)


def sample_regions(
    proposals: Tensor,
    target: Target,
    assign: MaxIoUAssigner,
    sample: RandomSampler,
    permute: Permute,
    num_classes: int,
) -> SampledRegions:
    """Choose among an image's objects themselves and the proposals.

    Args:
        proposals: (n, 4) xyxy pixels, without gradient.
        target: ground truth of the image.
        assign: says which proposals are foreground.
        sample: chooses among foreground and background.
        permute: draws the order that `sample` takes from.
        num_classes: label of background.
    """
    objects = target.boxes
    boxes = torch.cat((objects, proposals))
    itself = torch.arange(1, len(objects) + 1, device=objects.device)
    assigned = torch.cat((itself, assign(proposals, objects)))
    positives, negatives = sample(assigned, permute)
    owners = assigned[positives] - 1
    return SampledRegions(
        boxes[torch.cat((positives, negatives))],
        F.pad(target.labels[owners], (0, len(negatives)), value=num_classes),
        F.pad(objects[owners], (0, 0, 0, len(negatives))),
        owners,
    )
