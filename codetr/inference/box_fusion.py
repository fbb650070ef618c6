"""Merge the detections of several views of an image into one set.

Detections of the same object in different views are merged. Those of one view never are: the model has already decided
that they are different objects. The detections of a single view therefore remain unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from codetr.models.boxes import iou_matrix
from codetr.models.masks import RegionMasks
from codetr.models.structures import Detections
from codetr.ops.nms import batched_nms

_CHUNK = 256
"""Number of detections compared, and of masks resampled, at a time."""


def fuse(views: Sequence[Detections], iou_threshold: float, soft_threshold: float) -> Detections:
    """Average views that each show the whole image: weighted boxes fusion (Solovyev et al., 2021), extended to masks.

    Boxes of one object are averaged, weighted by their scores, and so are the probabilities of its masks. Its score is
    the mean over all views, where a view without the object counts as zero. Where views disagree on the number of
    objects, soft-NMS then lowers the scores of those that overlap a better one. An image keeps at most as many
    detections as the view with the most.

    Args:
        views: detections in pixels of the same image, at least one view.
        iou_threshold: IoU with the best detection of an object at which a detection of its class belongs to it.
        soft_threshold: IoU of objects of one class at which soft-NMS lowers a score.
    """
    if len(views) == 1:
        return views[0]
    detections, views_of, leaders_of = _match(views, iou_threshold)
    leaders, rows = leaders_of.unique(return_inverse=True)
    members = leaders_of.new_full((len(leaders), len(views)), -1)
    members[rows, views_of] = torch.arange(len(leaders_of), device=leaders_of.device)
    present = members >= 0
    scores = detections.scores[members] * present
    weights = scores.clamp(min=1e-6) * present
    shares = weights / weights.sum(dim=1, keepdim=True)
    alone = present.sum(dim=1) == 1
    boxes = (detections.boxes[members] * shares[:, :, None]).sum(dim=1)
    boxes = torch.where(alone[:, None], detections.boxes[leaders], boxes)
    fused = Detections(boxes, scores.sum(dim=1) / len(views), detections.labels[leaders])
    if detections.masks is not None:
        fused.masks = _fuse_masks(detections.masks, boxes, leaders, members, shares)
    if detections.mask_scores is not None:
        fused.mask_scores = (detections.mask_scores[members] * present).sum(dim=1) / len(views)
    scores, kept = batched_nms(
        boxes, fused.scores, fused.labels, soft_threshold, method="soft_nms", limit=max(map(len, views))
    )
    lowered = scores / fused.scores[kept].clamp(min=1e-12)
    fused = fused[kept]
    if fused.mask_scores is not None:
        fused.mask_scores = fused.mask_scores * lowered
    fused.scores = scores
    return fused


def suppress(views: Sequence[Detections], iou_threshold: float) -> Detections:
    """Keep the best detection of every object: non-maximum suppression between views.

    Args:
        views: detections in pixels of the same image, at least one view.
        iou_threshold: IoU at which detections of a class are one object.
    """
    detections, _, leaders_of = _match(views, iou_threshold)
    return detections[leaders_of.unique()]


def _match(views: Sequence[Detections], iou_threshold: float) -> tuple[Detections, Tensor, Tensor]:
    """Match detections of the same object in different views.

    In descending order of score, a detection joins the object of its class whose best detection it overlaps most,
    unless that object already has a detection of the same view. Otherwise it starts a new object.

    Returns:
        All detections, best first; (detections,) int64, the view of each; (detections,) int64, the index of the best
        detection of its object.
    """
    detections = _concatenate(views)
    device = detections.boxes.device
    order = detections.scores.argsort(descending=True, stable=True)
    detections = detections[order]
    lengths = torch.tensor([len(view) for view in views], device=device)
    views_of = torch.arange(len(views), device=device).repeat_interleave(lengths)[order]
    leaders_of = list(range(len(order)))
    from_view = views_of.tolist()
    taken = set()
    for detection, better in _overlapping(detections, views_of, iou_threshold):
        key = better, from_view[detection]
        if leaders_of[detection] == detection and leaders_of[better] == better and key not in taken:
            leaders_of[detection] = better
            taken.add(key)
    return detections, views_of, torch.tensor(leaders_of, dtype=torch.int64, device=device)


def _overlapping(detections: Detections, views_of: Tensor, iou_threshold: float) -> list[tuple[int, int]]:
    """List overlapping pairs of one class and different views: a detection and a better one, whose index is lower.

    Pairs are sorted by the first index, then by descending overlap.
    """
    found = []
    for label in detections.labels.unique():
        members = (detections.labels == label).nonzero().squeeze(1)
        for rows in members.split(_CHUNK):
            overlaps = iou_matrix(detections.boxes[rows], detections.boxes[members])
            pairs = (
                (overlaps >= iou_threshold) & (members < rows[:, None]) & (views_of[members] != views_of[rows][:, None])
            )
            row, column = pairs.nonzero(as_tuple=True)
            found.append((rows[row], members[column], overlaps[row, column]))
    if not found:
        return []
    first, second, overlap = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
    order = np.lexsort((second, -overlap, first))
    return list(zip(first[order].tolist(), second[order].tolist(), strict=True))


def _concatenate(views: Sequence[Detections]) -> Detections:
    first = views[0]
    detections = Detections(
        torch.cat([view.boxes for view in views]),
        torch.cat([view.scores for view in views]),
        torch.cat([view.labels for view in views]),
    )
    if first.masks is not None:
        masks = [view.masks for view in views if view.masks is not None]
        detections.masks = RegionMasks(
            torch.cat([mask.probabilities for mask in masks]),
            torch.cat([mask.boxes for mask in masks]),
            first.masks.size,
        )
    if first.mask_scores is not None:
        detections.mask_scores = torch.cat([view.mask_scores for view in views if view.mask_scores is not None])
    return detections


def _fuse_masks(masks: RegionMasks, boxes: Tensor, leaders: Tensor, members: Tensor, shares: Tensor) -> RegionMasks:
    """Average probabilities over the fused boxes (objects, 4); masks of objects in one view only are copied."""
    in_several = (members >= 0).sum(dim=1) > 1
    grids = masks.probabilities[leaders]
    grids[in_several] = 0
    for of_view, share in zip(members.unbind(dim=1), shares.unbind(dim=1), strict=True):
        for rows in (in_several & (of_view >= 0)).nonzero().squeeze(1).split(_CHUNK):
            chosen = of_view[rows]
            resampled = _resample(masks.probabilities[chosen], masks.boxes[chosen], boxes[rows])
            grids[rows] += resampled * share[rows, None, None]
    return RegionMasks(grids, boxes, masks.size)


def _resample(grids: Tensor, boxes: Tensor, onto: Tensor) -> Tensor:
    """Resample grids (n, side, side) over `boxes` (n, 4) to grids (n, side, side) over boxes `onto` (n, 4), all xyxy.

    A mask is zero outside of its box.
    """
    side = grids.shape[-1]
    centres = (torch.arange(side, device=grids.device) + 0.5) / side
    axes = []
    for low, high in ((0, 2), (1, 3)):
        coordinates = onto[:, low, None] + centres * (onto[:, high] - onto[:, low])[:, None]
        extent = (boxes[:, high] - boxes[:, low]).clamp(min=1e-6)
        axes.append((coordinates - boxes[:, low, None]) / extent[:, None] * 2 - 1)
    x, y = (axis.float() for axis in axes)
    coordinates = torch.stack((x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)), dim=-1)
    inside = (coordinates.abs() <= 1).all(dim=-1)
    sampled = F.grid_sample(grids[:, None].float(), coordinates, padding_mode="border", align_corners=False)
    return sampled[:, 0] * inside
