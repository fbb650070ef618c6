"""Features of regions: RoIAlign (He et al., "Mask R-CNN", ICCV 2017) on the level that suits a region's size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
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


def boxes_to_rois(boxes: Sequence[Tensor]) -> Tensor:
    """(regions, 5) image and xyxy pixels of all images' boxes (n, 4), one image after the other."""
    return torch.cat([F.pad(box, (1, 0), value=index) for index, box in enumerate(boxes)])


def pool_regions(
    features: Sequence[Tensor], strides: Sequence[int], regions: Tensor, *, size: int, finest_scale: float
) -> Tensor:
    """(regions, channels, size, size) features of regions, in order.

    Args:
        features: maps (batch, channels, height, width) of the levels to pool from, fine to coarse.
        strides: their strides in pixels.
        regions: (regions, 5) index of the image and xyxy pixels.
        size: cells per side of the pooled features.
        finest_scale: see `pooling_levels`.
    """
    levels = pooling_levels(regions[:, 1:], len(features), finest_scale)
    if torch.compiler.is_exporting():
        return _pool_all_from_each(features, strides, regions, levels, size)
    # Regions of a level are pooled together; how many there are is asked of the device once, not level by level.
    order = levels.argsort(stable=True)
    counts = torch.bincount(levels, minlength=len(features)).tolist()
    pooled = [
        roi_align(feature, part, size, spatial_scale=1 / stride, sampling_ratio=0, aligned=True)
        for feature, stride, part in zip(features, strides, regions[order].split(counts), strict=True)
    ]
    return torch.cat(pooled)[order.argsort()]


def _pool_all_from_each(
    features: Sequence[Tensor], strides: Sequence[int], regions: Tensor, levels: Tensor, size: int
) -> Tensor:
    """The same where shapes may not depend on how many regions a level gets: every level pools all of them.

    Regions of other levels are empty boxes then, from which nothing is sampled.
    """
    pooled = regions.new_zeros(())
    for level, (feature, stride) in enumerate(zip(features, strides, strict=True)):
        own = (levels == level)[:, None]
        part = torch.where(own, regions, 0.0)
        sampled = roi_align(feature, part, size, spatial_scale=1 / stride, sampling_ratio=0, aligned=True)
        pooled = torch.where(own[..., None, None], sampled, pooled)
    return pooled
