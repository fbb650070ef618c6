"""Masks as networks predict them, a small grid over each box, and as images show them (He et al., ICCV 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align

_THRESHOLD = 0.5
_CHUNK = 2**25
"""Mask pixels that are held as floats at a time: 128 MiB."""


@dataclass
class RegionMasks:
    """Masks of one image's detections, as grids over their boxes until someone wants them in pixels.

    In pixels, a thousand masks of a 12 megapixel photograph are 12 GB; the grids are a few megabytes. Iterating
    gives the masks in pixels one after the other.

    Attributes:
        probabilities: (detections, side, side) float32 in [0, 1], a grid of cells over each box.
        boxes: (detections, 4) xyxy, in pixels of the original image.
        size: (height, width) of the original image.
    """

    probabilities: Tensor
    boxes: Tensor
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: slice | Tensor) -> RegionMasks:
        """The masks of some of the detections."""
        return RegionMasks(self.probabilities[index], self.boxes[index], self.size)

    def __iter__(self) -> Iterator[Tensor]:
        """(height, width) bool over the original image, of every detection in order."""
        for grid, corners in zip(self.probabilities, self.boxes.tolist(), strict=True):
            yield paste_mask(grid, corners, self.size)

    def pasted(self) -> Tensor:
        """(detections, height, width) bool over the original image."""
        masks = torch.zeros(len(self), *self.size, dtype=torch.bool, device=self.boxes.device)
        for mask, pasted in zip(masks, self, strict=True):
            mask.copy_(pasted)
        return masks

    def to(self, device: torch.device | str) -> RegionMasks:
        """The same masks with their tensors on `device`."""
        return RegionMasks(self.probabilities.to(device), self.boxes.to(device), self.size)


def paste_mask(probabilities: Tensor, box: Sequence[float], size: tuple[int, int]) -> Tensor:
    """(height, width) bool: where the interpolated probability at a pixel's centre reaches one half.

    Only pixels that the box touches are looked at; beyond its border, interpolation with zeros stays below one half.
    A box without extent has an empty mask.

    Args:
        probabilities: (side, side) in [0, 1], the cells of a grid over the box.
        box: xyxy in pixels; it may reach beyond the image, or lie outside it.
        size: (height, width) of the image.
    """
    mask = torch.zeros(size, dtype=torch.bool, device=probabilities.device)
    left, top, right, bottom = box
    (rows, y), (columns, x) = (
        _positions(start, end, length, probabilities.device)
        for start, end, length in ((top, bottom, size[0]), (left, right, size[1]))
    )
    if len(y) and len(x):
        places = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
        sampled = F.grid_sample(probabilities.float()[None, None], places[None], align_corners=False)
        mask[rows, columns] = sampled[0, 0] >= _THRESHOLD
    return mask


def _positions(start: float, end: float, length: int, device: torch.device) -> tuple[slice, Tensor]:
    """The pixels that an interval touches along one axis, and where their centres lie in it, from -1 to 1."""
    if not end > start:
        return slice(0, 0), torch.zeros(0, device=device)
    first, last = (min(max(bound, 0), length) for bound in (math.floor(start), math.ceil(end)))
    centres = torch.arange(first, last, dtype=torch.float32, device=device) + 0.5
    return slice(first, last), (centres - start) / (end - start) * 2 - 1


def crop_masks(masks: Tensor, boxes: Tensor, owners: Tensor, size: int) -> Tensor:
    """(regions, size, size) bool: the part of an object's mask within each region, at the region's resolution.

    A cell is set if at least half of it is, as RoIAlign samples it.

    Args:
        masks: (objects, height, width) bool, of one image.
        boxes: (regions, 4) xyxy in pixels of the masks; what reaches beyond them is cut off.
        owners: (regions,) int64, the object of each region.
        size: cells per side.
    """
    height, width = masks.shape[-2:]
    limits = boxes.new_tensor([width, height, width, height])
    clipped = boxes.clamp(min=0).minimum(limits)
    cropped = boxes.new_zeros((len(boxes), size, size), dtype=torch.bool)
    step = max(1, _CHUNK // (height * width))
    for start in range(0, len(masks), step):
        part = masks[start : start + step]
        regions = ((owners >= start) & (owners < start + len(part))).nonzero().squeeze(1)
        rois = torch.cat(((owners[regions] - start).to(boxes)[:, None], clipped[regions]), dim=1)
        sampled = roi_align(part[:, None].to(boxes), rois, size, spatial_scale=1.0, sampling_ratio=0, aligned=True)
        cropped[regions] = sampled[:, 0] >= _THRESHOLD
    return cropped


def area_within(masks: Tensor, boxes: Tensor, owners: Tensor) -> Tensor:
    """(regions,) float32: which share of its object's mask each region holds; 0 for an object without pixels.

    Args:
        masks: (objects, height, width) bool, of one image.
        boxes: (regions, 4) xyxy in pixels of the masks, cut off to whole ones; at least one pixel counts.
        owners: (regions,) int64, the object of each region.
    """
    height, width = masks.shape[-2:]
    areas = masks.flatten(1).sum(dim=1)
    corners = boxes.long()
    limits = corners.new_tensor([width, height, width, height])
    inside = [
        masks[owner, top : max(bottom, top + 1), left : max(right, left + 1)].sum()
        for owner, (left, top, right, bottom) in zip(
            owners.tolist(), corners.clamp(min=0).minimum(limits).tolist(), strict=True
        )
    ]
    return torch.stack(inside) / (areas[owners] + 1e-7) if inside else boxes.new_zeros(0)
