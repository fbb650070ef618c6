"""Non-maximum suppression within classes (or levels), with the order of the reference implementation."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from codetr.ops.soft_nms import soft_nms
from codetr.ops.torchvision_operators import nms

SuppressionMethod = Literal["nms", "soft_nms"]

SPLIT_THRESHOLD = 10_000
"""Number of boxes from which groups are suppressed one after the other, as in the reference: it decides ties."""


def batched_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    iou_threshold: float,
    *,
    method: SuppressionMethod = "nms",
    min_score: float = 1e-3,
    limit: int | None = None,
    split_threshold: int = SPLIT_THRESHOLD,
) -> tuple[Tensor, Tensor]:
    """Suppress overlapping boxes of the same group.

    Groups are separated by offsets larger than the largest coordinate, in float32, as in the reference: the rounding of
    overlaps at large offsets is part of the result.

    Args:
        boxes: (n, 4) xyxy.
        scores: (n,).
        groups: (n,) int64, class or level of every box.
        iou_threshold: IoU above which "nms" drops a box, and from which "soft_nms" lowers its score.
        method: "nms", or "soft_nms" (see `soft_nms`).
        min_score: for "soft_nms", the score below which a box is dropped.
        limit: most boxes to keep, over all groups.
        split_threshold: number of boxes from which groups are suppressed one after the other.

    Returns:
        Scores (kept,), descending, and indices (kept,) int64 into the inputs.
    """
    if not len(boxes):
        return scores, groups.new_zeros(0)
    moved = boxes + (groups.to(boxes) * (boxes.max() + 1))[:, None]
    suppress = partial(_suppress, iou_threshold=iou_threshold, method=method, min_score=min_score, limit=limit)
    if len(boxes) < split_threshold:
        return suppress(moved, scores)
    kept_scores, kept = [], []
    for group in groups.unique():
        members = (groups == group).nonzero().squeeze(1)
        group_scores, selected = suppress(moved[members], scores[members])
        kept_scores.append(group_scores)
        kept.append(members[selected])
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
    """Suppress overlapping boxes of every class, for boxes with a score for each class.

    Args:
        boxes: (n, classes, 4) xyxy, or (n, 1, 4) for one box for all classes.
        scores: (n, classes), without background.
        iou_threshold: see `batched_nms`.
        score_threshold: only scores above this take part.
        method, min_score, limit: see `batched_nms`.

    Returns:
        Boxes (kept, 4), scores (kept,), descending, and labels (kept,) int64.
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
