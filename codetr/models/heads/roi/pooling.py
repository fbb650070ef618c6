"""Features of regions: RoIAlign (He et al., "Mask R-CNN", ICCV 2017) on the level that suits a region's size.

A tensor of RoIs is (regions, 5): the index of the image and xyxy pixels of the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from codetr.models.boxes import box_area
from codetr.ops.torchvision_operators import roi_align


def pooling_levels(boxes_xyxy: Tensor, levels: int, finest_scale: float) -> Tensor:
    """Return the level (n,) int64 of every box (Lin et al., "FPN", CVPR 2017, equation 1).

    Args:
        boxes_xyxy: (n, 4) pixels.
        levels: number of levels.
        finest_scale: boxes smaller than twice this (square root of the area, pixels) belong to level 0.
    """
    scales = box_area(boxes_xyxy).sqrt()
    return (scales / finest_scale + 1e-6).log2().floor().clamp(0, levels - 1).long()


def boxes_to_rois(boxes_xyxy: Sequence[Tensor]) -> Tensor:
    """Concatenate the boxes (n, 4) of all images to RoIs (regions, 5), one image after the other."""
    return torch.cat([F.pad(boxes, (1, 0), value=index) for index, boxes in enumerate(boxes_xyxy)])


def pool_regions(
    features: Sequence[Tensor], strides: Sequence[int], rois: Tensor, *, size: int, finest_scale: float
) -> Tensor:
    """Pool the features (regions, channels, size, size) of regions, each from its level.

    Args:
        features: feature maps (batch, channels, height, width), fine to coarse.
        strides: their strides in pixels.
        rois: (regions, 5) index of the image and xyxy pixels.
        size: cells per side of the pooled features.
        finest_scale: see `pooling_levels`.
    """
    levels = pooling_levels(rois[:, 1:], len(features), finest_scale)
    if torch.compiler.is_exporting():
        return _pool_from_all_levels(features, strides, rois, levels, size)
    # Regions of a level are pooled together; one synchronisation with the device gives the number per level.
    order = levels.argsort(stable=True)
    counts = torch.bincount(levels, minlength=len(features)).tolist()
    pooled = [
        roi_align(feature, part, size, 1 / stride)
        for feature, stride, part in zip(features, strides, rois[order].split(counts), strict=True)
    ]
    return torch.cat(pooled)[order.argsort()]


def _pool_from_all_levels(
    features: Sequence[Tensor], strides: Sequence[int], rois: Tensor, levels: Tensor, size: int
) -> Tensor:
    """Pool regions in an exported program, whose shapes may not depend on the number of regions per level.

    Every level pools all regions; those of other levels are empty boxes then, for which nothing is sampled.
    """
    pooled = rois.new_zeros(())
    for level, (feature, stride) in enumerate(zip(features, strides, strict=True)):
        on_level = (levels == level)[:, None]
        part = torch.where(on_level, rois, 0.0)
        sampled = roi_align(feature, part, size, 1 / stride)
        pooled = torch.where(on_level[..., None, None], sampled, pooled)
    return pooled
