"""Adaptive training sample selection (Zhang et al., "ATSS", CVPR 2020, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codetr.models.boxes import paired_iou

_MIN_INSIDE = 0.01
"""Least distance in pixels of a foreground anchor's centre from the sides of its object's box."""


@dataclass(frozen=True)
class ATSSAssigner:
    """Assign an object to those of its nearest anchors whose IoU is above the mean plus the standard deviation.

    Attributes:
        candidates: number of nearest anchors on every level that are candidates of an object.
    """

    candidates: int = 9

    def __call__(self, anchors: Tensor, level_sizes: Sequence[int], gt_boxes: Tensor) -> Tensor:
        """Assign anchors to objects.

        Args:
            anchors: (n, 4) xyxy pixels of all levels, one after the other.
            level_sizes: number of anchors of every level; they sum to n.
            gt_boxes: (objects, 4) xyxy pixels.

        Returns:
            (n,) int64, 1 + the index of the anchor's object, 0 for background.
        """
        if not len(gt_boxes) or not len(anchors):
            return anchors.new_zeros(len(anchors), dtype=torch.int64)
        centers = (anchors[:, :2] + anchors[:, 2:]) / 2
        candidates = self._nearest_anchors(centers, level_sizes, (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2)
        overlaps = paired_iou(anchors[candidates], gt_boxes)
        threshold = overlaps.mean(dim=0) + overlaps.std(dim=0)
        points = centers[candidates]
        inside = torch.cat((points - gt_boxes[:, :2], gt_boxes[:, 2:] - points), dim=-1).amin(dim=-1) > _MIN_INSIDE
        return _resolve_conflicts(candidates, overlaps, (overlaps >= threshold) & inside, len(anchors))

    def _nearest_anchors(self, centers: Tensor, level_sizes: Sequence[int], gt_centers: Tensor) -> Tensor:
        """Return indices (candidates, objects) of the anchors nearest to every object, from all levels."""
        indices, start = [], 0
        for level in centers.split(list(level_sizes)):
            distances = (level[:, None] - gt_centers).pow(2).sum(dim=-1).sqrt()
            count = min(self.candidates, len(level))
            indices.append(distances.topk(count, dim=0, largest=False).indices + start)
            start += len(level)
        return torch.cat(indices)


def _resolve_conflicts(candidates: Tensor, overlaps: Tensor, foreground: Tensor, count: int) -> Tensor:
    """Assign anchors that several objects select to the one with the largest IoU, the first one if there is a tie.

    Args:
        candidates: (candidates, objects) anchor indices.
        overlaps: (candidates, objects) IoU of these pairs.
        foreground: (candidates, objects) bool, whether the object selects the anchor.
        count: number of anchors.

    Returns:
        (count,) int64, 1 + the index of the object, 0 for background.
    """
    anchors, overlaps = candidates.flatten(), overlaps.masked_fill(~foreground, -1.0).flatten()
    best = overlaps.new_full((count,), -1.0).scatter_reduce(0, anchors, overlaps, "amax")
    numbers = torch.arange(1, candidates.shape[1] + 1, device=candidates.device).expand_as(candidates).flatten()
    is_best = foreground.flatten() & (overlaps == best[anchors])
    none = candidates.shape[1] + 1
    first = numbers.new_full((count,), none).scatter_reduce(0, anchors, numbers.masked_fill(~is_best, none), "amin")
    return torch.where(first == none, 0, first)
