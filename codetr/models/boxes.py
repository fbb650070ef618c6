"""Box formats, and the overlap of boxes.

A box in xyxy format is (left, top, right, bottom), one in cxcywh format (centre x, centre y, width, height); x grows to
the right and y down. Coordinates are continuous: nothing is rounded, and a box from 10 to 20 is 10 wide.

Overlaps equal those of the reference implementation of Co-DETR: unions and enclosing areas are at least `EPSILON`, so
the IoU of two empty boxes is 0 and gradients stay finite.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-6
"""Lower bound of the union and of the enclosing area in IoU and GIoU, in squared units of the boxes."""


def xyxy_to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """Convert boxes (..., 4) from xyxy to cxcywh, in the same units."""
    left, top, right, bottom = boxes_xyxy.unbind(-1)
    return torch.stack(((left + right) / 2, (top + bottom) / 2, right - left, bottom - top), dim=-1)


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Convert boxes (..., 4) from cxcywh to xyxy, in the same units."""
    x, y, width, height = boxes_cxcywh.unbind(-1)
    return torch.stack((x - 0.5 * width, y - 0.5 * height, x + 0.5 * width, y + 0.5 * height), dim=-1)


def clip_boxes(boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor:
    """Clip boxes (..., 4), in pixels, to an image of `size` (height, width)."""
    height, width = size
    left, top, right, bottom = boxes_xyxy.unbind(-1)
    return torch.stack(
        (left.clamp(0, width), top.clamp(0, height), right.clamp(0, width), bottom.clamp(0, height)), dim=-1
    )


def box_area(boxes_xyxy: Tensor) -> Tensor:
    """Return the areas (...) of boxes (..., 4); negative if exactly one side is negative."""
    return (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1])


def iou_matrix(boxes_xyxy: Tensor, other_xyxy: Tensor) -> Tensor:
    """Return the IoU (n, m) of every one of boxes (n, 4) with every one of other boxes (m, 4)."""
    return paired_iou(boxes_xyxy[..., :, None, :], other_xyxy[..., None, :, :])


def giou_matrix(boxes_xyxy: Tensor, other_xyxy: Tensor) -> Tensor:
    """Return the GIoU (n, m) in [-1, 1] of every one of boxes (n, 4) with every one of other boxes (m, 4)."""
    return paired_giou(boxes_xyxy[..., :, None, :], other_xyxy[..., None, :, :])


def paired_iou(boxes_xyxy: Tensor, other_xyxy: Tensor) -> Tensor:
    """Return the IoU (...) of boxes with the same index in two tensors (..., 4), which are broadcast."""
    intersection, union = _intersection_and_union(boxes_xyxy, other_xyxy)
    return intersection / union


def paired_giou(boxes_xyxy: Tensor, other_xyxy: Tensor) -> Tensor:
    """Return the GIoU (...) of boxes with the same index in two tensors (..., 4), which are broadcast.

    Source: Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019, algorithm 1.
    """
    intersection, union = _intersection_and_union(boxes_xyxy, other_xyxy)
    width = torch.maximum(boxes_xyxy[..., 2], other_xyxy[..., 2]) - torch.minimum(
        boxes_xyxy[..., 0], other_xyxy[..., 0]
    )
    height = torch.maximum(boxes_xyxy[..., 3], other_xyxy[..., 3]) - torch.minimum(
        boxes_xyxy[..., 1], other_xyxy[..., 1]
    )
    enclosing = (width.clamp(min=0) * height.clamp(min=0)).clamp(min=EPSILON)
    return intersection / union - (enclosing - union) / enclosing


def _intersection_and_union(boxes: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    # One coordinate at a time: stacking them would double the memory of large matrices.
    width = torch.minimum(boxes[..., 2], other[..., 2]) - torch.maximum(boxes[..., 0], other[..., 0])
    height = torch.minimum(boxes[..., 3], other[..., 3]) - torch.maximum(boxes[..., 1], other[..., 1])
    intersection = width.clamp(min=0) * height.clamp(min=0)
    union = (box_area(boxes) + box_area(other) - intersection).clamp(min=EPSILON)
    return intersection, union
