"""Conversion of masks between grids over boxes, as networks predict them, and pixels (He et al., ICCV 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from codetr.ops.torchvision_operators import roi_align

_THRESHOLD = 0.5
CHUNK = 2**25
"""Mask pixels that `crop_masks` holds as float32 at a time by default: 128 MiB."""


@dataclass
class RegionMasks:
    """Masks of one image's detections as grids over their boxes, converted to pixels on request.

    In pixels, a thousand masks of a 12 megapixel photograph need 12 GB, the grids a few megabytes. Iterating yields the
    masks in pixels one after the other.

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
        """Select the masks of some detections."""
        return RegionMasks(self.probabilities[index], self.boxes[index], self.size)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the mask of every detection, (height, width) bool over the original image."""
        for grid, corners in zip(self.probabilities, self.boxes.tolist(), strict=True):
            yield paste_mask(grid, corners, self.size)

    def pasted(self) -> Tensor:
        """Return the masks of all detections, (detections, height, width) bool over the original image."""
        masks = torch.zeros(len(self), *self.size, dtype=torch.bool, device=self.boxes.device)
        for mask, pasted in zip(masks, self, strict=True):
            mask.copy_(pasted)
        return masks

    def to(self, device: torch.device | str) -> RegionMasks:
        """Return the masks with their tensors on `device`."""
        return RegionMasks(self.probabilities.to(device), self.boxes.to(device), self.size)


def paste_mask(probabilities: Tensor, box: Sequence[float], size: tuple[int, int]) -> Tensor:
    """Return the mask (height, width) bool of an image: pixels at whose centre the probability is at least one half.

    Probabilities are interpolated, with zeros beyond the border of the box, so only pixels that the box touches are
    computed. A box without extent has an empty mask.

    Args:
        probabilities: (side, side) in [0, 1], a grid of cells over the box.
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
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
        sampled = F.grid_sample(probabilities.float()[None, None], grid[None], align_corners=False)
        mask[rows, columns] = sampled[0, 0] >= _THRESHOLD
    return mask


def _positions(start: float, end: float, length: int, device: torch.device) -> tuple[slice, Tensor]:
    """Return the pixels that an interval touches along one axis, and their centres relative to it, in [-1, 1]."""
    if not end > start:
        return slice(0, 0), torch.zeros(0, device=device)
    first, last = (min(max(bound, 0), length) for bound in (math.floor(start), math.ceil(end)))
    centres = torch.arange(first, last, dtype=torch.float32, device=device) + 0.5
    return slice(first, last), (centres - start) / (end - start) * 2 - 1


def crop_masks(masks: Tensor, boxes: Tensor, object_indices: Tensor, size: int, *, chunk: int = CHUNK) -> Tensor:
    """Crop the mask of an object to each region and resize it: (regions, size, size) bool.

    A cell is set if at least half of it is covered, sampled by RoIAlign.

    Args:
        masks: (objects, height, width) bool, of one image.
        boxes: (regions, 4) xyxy in pixels of the masks, clipped to them.
        object_indices: (regions,) int64, index of the object of each region.
        size: cells per side.
        chunk: mask pixels that are held as float32 at a time.
    """
    height, width = masks.shape[-2:]
    limits = boxes.new_tensor([width, height, width, height])
    clipped = boxes.clamp(min=0).minimum(limits)
    cropped = boxes.new_zeros((len(boxes), size, size), dtype=torch.bool)
    step = max(1, chunk // (height * width))
    for start in range(0, len(masks), step):
        part = masks[start : start + step]
        regions = ((object_indices >= start) & (object_indices < start + len(part))).nonzero().squeeze(1)
        rois = torch.cat(((object_indices[regions] - start).to(boxes)[:, None], clipped[regions]), dim=1)
        sampled = roi_align(part[:, None].to(boxes), rois, size, 1.0)
        cropped[regions] = sampled[:, 0] >= _THRESHOLD
    return cropped


def mask_fractions(masks: Tensor, boxes: Tensor, object_indices: Tensor) -> Tensor:
    """Return the fraction (regions,) float32 of its object's mask within each region; 0 if the mask is empty.

    Args:
        masks: (objects, height, width) bool, of one image.
        boxes: (regions, 4) xyxy in pixels of the masks, truncated to integers; at least one pixel wide and high.
        object_indices: (regions,) int64, index of the object of each region.
    """
    height, width = masks.shape[-2:]
    areas = masks.flatten(1).sum(dim=1)
    corners = boxes.long()
    limits = corners.new_tensor([width, height, width, height])
    inside = [
        masks[index, top : max(bottom, top + 1), left : max(right, left + 1)].sum()
        for index, (left, top, right, bottom) in zip(
            object_indices.tolist(), corners.clamp(min=0).minimum(limits).tolist(), strict=True
        )
    ]
    return torch.stack(inside) / (areas[object_indices] + 1e-7) if inside else boxes.new_zeros(0)
