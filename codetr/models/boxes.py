"""Boxes: two ways to write them, and how much two of them overlap.

xyxy is (left, top, right, bottom), cxcywh is (centre x, centre y, width, height); x grows to the right, y down.
Nothing here rounds or adds one: a box from 10 to 20 is 10 wide.

Overlaps match the reference implementation of Co-DETR: a union (or enclosing area) below `EPSILON` counts as
`EPSILON`, so two empty boxes have an IoU of 0, and gradients stay finite.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-6
"""Smallest union and smallest enclosing area that IoU and GIoU divide by, in squared units of the boxes."""


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """(..., 4) corners to (..., 4) centre and size, in the same units."""
    left, top, right, bottom = boxes.unbind(-1)
    return torch.stack(((left + right) / 2, (top + bottom) / 2, right - left, bottom - top), dim=-1)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(..., 4) centre and size to (..., 4) corners, in the same units."""
    x, y, width, height = boxes.unbind(-1)
    return torch.stack((x - 0.5 * width, y - 0.5 * height, x + 0.5 * width, y + 0.5 * height), dim=-1)


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., 4) xyxy boxes with every corner moved into an image of `size` (height, width) pixels."""
    height, width = size
    left, top, right, bottom = boxes.unbind(-1)
    return torch.stack(
        (left.clamp(0, width), top.clamp(0, height), right.clamp(0, width), bottom.clamp(0, height)), dim=-1
    )


def box_area(boxes: Tensor) -> Tensor:
    """(..., 4) xyxy boxes to (...) areas, negative where exactly one side is."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou_matrix(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of every box with every other: (n, 4) and (m, 4) xyxy to (n, m)."""
    return paired_iou(boxes[..., :, None, :], others[..., None, :, :])


def giou_matrix(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalised IoU of every box with every other: (n, 4) and (m, 4) xyxy to (n, m), in [-1, 1]."""
    return paired_giou(boxes[..., :, None, :], others[..., None, :, :])


def paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of boxes of the same index: two (..., 4) xyxy, broadcast, to (...)."""
    intersection, union = _intersection_and_union(boxes, others)
    return intersection / union


def paired_giou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalised IoU (Rezatofighi et al., CVPR 2019) of boxes of the same index: two (..., 4) xyxy to (...)."""
    intersection, union = _intersection_and_union(boxes, others)
    width = torch.maximum(boxes[..., 2], others[..., 2]) - torch.minimum(boxes[..., 0], others[..., 0])
    height = torch.maximum(boxes[..., 3], others[..., 3]) - torch.minimum(boxes[..., 1], others[..., 1])
    enclosing = (width.clamp(min=0) * height.clamp(min=0)).clamp(min=EPSILON)
    return intersection / union - (enclosing - union) / enclosing


def _intersection_and_union(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    # One coordinate at a time: stacking them would double the memory of large matrices.
    width = torch.minimum(boxes[..., 2], others[..., 2]) - torch.maximum(boxes[..., 0], others[..., 0])
    height = torch.minimum(boxes[..., 3], others[..., 3]) - torch.maximum(boxes[..., 1], others[..., 1])
    intersection = width.clamp(min=0) * height.clamp(min=0)
    union = (box_area(boxes) + box_area(others) - intersection).clamp(min=EPSILON)
    return intersection, union
