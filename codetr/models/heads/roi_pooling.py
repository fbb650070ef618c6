"""Features of regions: RoIAlign (He et al., "Mask R-CNN", ICCV 2017) on the level that suits a region's size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from codetr.models.boxes import box_area


def pooling_levels(boxes: Tensor, levels: int, finest_scale: float) -> Tensor:
    """(n,) int64 level of every box (n, 4) xyxy (Lin et al., "FPN", CVPR 2017, equation 1).

    Args:
        boxes: regions in pixels.
        levels: number of levels.
        finest_scale: boxes smaller than twice this (square root of the area, pixels) belong to level 0.
    """
    scales = box_area(boxes).sqrt()
    return (scales / finest_scale + 1e-6).log2().floor().clamp(0, levels - 1).long()


def pool_regions(
    features: Sequence[Tensor], strides: Sequence[int], boxes: Sequence[Tensor], *, size: int, finest_scale: float
) -> Tensor:
    """(regions, channels, size, size) features of all images' regions, in order.

    Args:
        features: maps (batch, channels, height, width) of the levels to pool from, fine to coarse.
        strides: their strides in pixels.
        boxes: regions (n, 4) xyxy pixels of every image.
        size: cells per side of the pooled features.
        finest_scale: see `pooling_levels`.
    """
    regions = torch.cat(list(boxes))
    images = torch.cat([box.new_full((len(box), 1), index) for index, box in enumerate(boxes)])
    levels = pooling_levels(regions, len(features), finest_scale)
    # Regions of a level are pooled together; how many there are is asked of the device once, not level by level.
    order = levels.argsort(stable=True)
    counts = torch.bincount(levels, minlength=len(features)).tolist()
    pooled = [
        roi_align(feature, part, size, spatial_scale=1 / stride, sampling_ratio=0, aligned=True)
        for feature, stride, part in zip(
            features, strides, torch.cat((images, regions), dim=1)[order].split(counts), strict=True
        )
    ]
    return torch.cat(pooled)[order.argsort()]
