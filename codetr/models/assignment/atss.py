"""Adaptive training sample selection (Zhang et al., "ATSS", CVPR 2020, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codetr.models.boxes import paired_iou

_MIN_INSIDE = 0.01
"""An anchor's centre must lie inside the object by more than this many pixels."""


@dataclass(frozen=True)
class ATSSAssigner:
    """Foreground are an object's nearest anchors that overlap it well compared with the others that are near.

    Attributes:
        candidates: nearest anchors of every level that are considered.
    """

    candidates: int = 9

    def __call__(self, anchors: Tensor, level_sizes: Sequence[int], objects: Tensor) -> Tensor:
        """(n,) int64: 1 + the index of the object an anchor is responsible for, 0 for background.

        Args:
            anchors: (n, 4) xyxy pixels of all levels, one after the other.
            level_sizes: number of anchors of every level; sums to n.
            objects: (m, 4) xyxy pixels.
        """
        if not len(objects) or not len(anchors):
            return anchors.new_zeros(len(anchors), dtype=torch.int64)
        centers = (anchors[:, :2] + anchors[:, 2:]) / 2
        nearest = self._nearest(centers, level_sizes, (objects[:, :2] + objects[:, 2:]) / 2)
        overlaps = paired_iou(anchors[nearest], objects)
        threshold = overlaps.mean(dim=0) + overlaps.std(dim=0)
        near = centers[nearest]
        inside = torch.cat((near - objects[:, :2], objects[:, 2:] - near), dim=-1).amin(dim=-1) > _MIN_INSIDE
        return _resolve(nearest, overlaps, (overlaps >= threshold) & inside, len(anchors))

    def _nearest(self, centers: Tensor, level_sizes: Sequence[int], object_centers: Tensor) -> Tensor:
        """(chosen, m) indices of the anchors nearest to every object, at most `candidates` of each level."""
        chosen, start = [], 0
        for level in centers.split(list(level_sizes)):
            distances = (level[:, None] - object_centers).pow(2).sum(dim=-1).sqrt()
            count = min(self.candidates, len(level))
            chosen.append(distances.topk(count, dim=0, largest=False).indices + start)
            start += len(level)
        return torch.cat(chosen)


def _resolve(nearest: Tensor, overlaps: Tensor, foreground: Tensor, total: int) -> Tensor:
    """Give every anchor to the object it overlaps most among those that chose it, the first one if they tie.

    Args:
        nearest: (chosen, m) anchor indices.
        overlaps: (chosen, m) of the same pairs.
        foreground: (chosen, m) whether the pair counts.
        total: number of anchors.

    Returns:
        (total,) int64, 1 + object or 0.
    """
    anchors, overlaps = nearest.flatten(), overlaps.masked_fill(~foreground, -1.0).flatten()
    best = overlaps.new_full((total,), -1.0).scatter_reduce(0, anchors, overlaps, "amax")
    numbers = torch.arange(1, nearest.shape[1] + 1, device=nearest.device).expand_as(nearest).flatten()
    wins = foreground.flatten() & (overlaps == best[anchors])
    none = nearest.shape[1] + 1
    first = numbers.new_full((total,), none).scatter_reduce(0, anchors, numbers.masked_fill(~wins, none), "amin")
    return torch.where(first == none, 0, first)
