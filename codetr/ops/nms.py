"""Non-maximum suppression within classes (or pyramid levels), in the order of the reference implementation."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torchvision.ops import nms

from codetr.ops.soft_nms import soft_nms

SuppressionMethod = Literal["nms", "soft_nms"]

_SPLIT_THRESHOLD = 10_000
"""From this many boxes on, groups are suppressed one after the other: the reference does, and it decides ties."""


def batched_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    iou_threshold: float,
    *,
    method: SuppressionMethod = "nms",
    min_score: float = 1e-3,
    limit: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Suppress overlapping boxes of the same group.

    Groups are kept apart by moving each by more than the largest coordinate, in float32, as the reference does: its
    rounding of overlaps at large offsets is part of the result.

    Args:
        boxes: (n, 4) xyxy.
        scores: (n,).
        groups: (n,) int64, a class or level of every box.
        iou_threshold: overlap above which "nms" drops a box; from which "soft_nms" lowers its score.
        method: see `soft_nms` for the second one.
        min_score: for "soft_nms", the score below which a box is dropped.
        limit: keep at most this many, over all groups.

    Returns:
        (kept,) scores, descending, and (kept,) int64 indices into the inputs.
    """
    if not len(boxes):
        return scores, groups.new_zeros(0)
    moved = boxes + (groups.to(boxes) * (boxes.max() + 1))[:, None]
    suppress = partial(_suppress, iou_threshold=iou_threshold, method=method, min_score=min_score, limit=limit)
    if len(boxes) < _SPLIT_THRESHOLD:
        return suppress(moved, scores)
    kept_scores, kept = [], []
    for group in groups.unique():
        members = (groups == group).nonzero().squeeze(1)
        group_scores, chosen = suppress(moved[members], scores[members])
        kept_scores.append(group_scores)
        kept.append(members[chosen])
    indices, by_index = torch.cat(kept).sort()
    ordered, order = torch.cat(kept_scores)[by_index].sort(descending=True, stable=True)
    return ordered[:limit], indices[order][:limit]


def multiclass_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    *,
    score_threshold: float = 0.0,
    method: SuppressionMethod = "nms",
    min_score: float = 1e-3,
    limit: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Suppression over all classes of boxes that have a score for each.

    Args:
        boxes: (n, classes, 4) xyxy, or (n, 1, 4) for one box for all classes.
        scores: (n, classes), without background.
        iou_threshold: see `batched_nms`, as are the other arguments.
        score_threshold: scores up to this one are left out first.
        method, min_score, limit: see `batched_nms`.

    Returns:
        (kept, 4) boxes, (kept,) scores, descending, and (kept,) int64 labels.
    """
    candidates, labels = (scores > score_threshold).nonzero(as_tuple=True)
    boxes = boxes.expand(-1, scores.shape[1], -1)[candidates, labels]
    kept_scores, kept = batched_nms(
        boxes,
        scores[candidates, labels],
        labels,
        iou_threshold,
        method=method,
        min_score=min_score,
        limit=limit,
    )
    return boxes[kept], kept_scores, labels[kept]


def _suppress(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    *,
    method: SuppressionMethod,
    min_score: float,
    limit: int | None,
) -> tuple[Tensor, Tensor]:
    if method == "soft_nms":
        return soft_nms(boxes, scores, iou_threshold, min_score=min_score, limit=limit)
    kept = nms(boxes, scores, iou_threshold)[:limit]
    return scores[kept], kept
