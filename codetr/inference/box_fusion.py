"""One set of detections from several views of an image.

Detections of different views that show the same object are brought together; those of one view never are, for there
the model itself has said what are two objects. One view alone therefore stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from codetr.models.masks import RegionMasks
from codetr.models.structures import Detections
from codetr.ops.nms import batched_nms

_CHUNK = 256
"""Detections that are compared, and masks that are resampled, at a time."""


def fuse(views: Sequence[Detections], iou_threshold: float, soft_threshold: float) -> Detections:
    """Average views that each show the whole image ("weighted boxes fusion", Solovyev et al., 2021, with masks).

    A box is the mean of the boxes that were brought together, weighted by their scores, and so is a mask, as
    probabilities. A score is the mean over all views, where a view without the object counts as zero. Where views
    disagree about what are two objects, soft-NMS then lowers the scores of those that overlap a better one. An image
    keeps at most as many detections as the view with the most.

    Args:
        views: detections in pixels of the same image, at least one view.
        iou_threshold: overlap with the best detection of an object from which another of its class belongs to it.
        soft_threshold: overlap of objects of one class from which soft-NMS lowers a score.
    """
    if len(views) == 1:
        return views[0]
    together, views_of, owners = _match(views, iou_threshold)
    leaders, rows = owners.unique(return_inverse=True)
    members = owners.new_full((len(leaders), len(views)), -1)
    members[rows, views_of] = torch.arange(len(owners), device=owners.device)
    present = members >= 0
    scores = together.scores[members] * present
    weights = scores.clamp(min=1e-6) * present
    shares = weights / weights.sum(dim=1, keepdim=True)
    alone = present.sum(dim=1) == 1
    boxes = (together.boxes[members] * shares[:, :, None]).sum(dim=1)
    boxes = torch.where(alone[:, None], together.boxes[leaders], boxes)
    fused = Detections(boxes, scores.sum(dim=1) / len(views), together.labels[leaders])
    if together.masks is not None:
        fused.masks = _fuse_masks(together.masks, boxes, leaders, members, shares)
    if together.mask_scores is not None:
        fused.mask_scores = (together.mask_scores[members] * present).sum(dim=1) / len(views)
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
    """Keep the best detection of every object that several views show: non-maximum suppression between views.

    Args:
        views: detections in pixels of the same image, at least one view.
        iou_threshold: overlap from which detections of a class are one object.
    """
    together, _, owners = _match(views, iou_threshold)
    return together[owners.unique()]


def _match(views: Sequence[Detections], iou_threshold: float) -> tuple[Detections, Tensor, Tensor]:
    """Find which detections of different views are the same object.

    From the best score down, a detection joins the object of its class whose best detection it overlaps most, unless
    that has one of the same view already; what fits nowhere is an object of its own.

    Returns:
        All detections, best first; (detections,) int64, the view each is from; (detections,) int64, the best detection
        of its object.
    """
    together = _concatenate(views)
    device = together.boxes.device
    order = together.scores.argsort(descending=True, stable=True)
    together = together[order]
    lengths = torch.tensor([len(view) for view in views], device=device)
    views_of = torch.arange(len(views), device=device).repeat_interleave(lengths)[order]
    owners = list(range(len(order)))
    from_view = views_of.tolist()
    taken = set()
    for detection, better in _overlapping(together, views_of, iou_threshold):
        place = better, from_view[detection]
        if owners[detection] == detection and owners[better] == better and place not in taken:
            owners[detection] = better
            taken.add(place)
    return together, views_of, torch.tensor(owners, dtype=torch.int64, device=device)


def _overlapping(together: Detections, views_of: Tensor, iou_threshold: float) -> list[tuple[int, int]]:
    """Pairs of one class and different views that overlap: a detection and a better one, whose number is lower.

    Ordered by the first, and for each from the largest overlap down.
    """
    found = []
    for label in together.labels.unique():
        members = (together.labels == label).nonzero().squeeze(1)
        for rows in members.split(_CHUNK):
            overlaps = box_iou(together.boxes[rows], together.boxes[members])
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
    together = Detections(
        torch.cat([view.boxes for view in views]),
        torch.cat([view.scores for view in views]),
        torch.cat([view.labels for view in views]),
    )
    if first.masks is not None:
        masks = [view.masks for view in views if view.masks is not None]
        together.masks = RegionMasks(
            torch.cat([mask.probabilities for mask in masks]),
            torch.cat([mask.boxes for mask in masks]),
            first.masks.size,
        )
    if first.mask_scores is not None:
        together.mask_scores = torch.cat([view.mask_scores for view in views if view.mask_scores is not None])
    return together


def _fuse_masks(masks: RegionMasks, boxes: Tensor, leaders: Tensor, members: Tensor, shares: Tensor) -> RegionMasks:
    """Mean probabilities over the fused boxes (objects, 4); masks of one view only are taken over."""
    together = (members >= 0).sum(dim=1) > 1
    grids = masks.probabilities[leaders]
    grids[together] = 0
    for of_view, share in zip(members.unbind(dim=1), shares.unbind(dim=1), strict=True):
        for rows in (together & (of_view >= 0)).nonzero().squeeze(1).split(_CHUNK):
            chosen = of_view[rows]
            resampled = _resample(masks.probabilities[chosen], masks.boxes[chosen], boxes[rows])
            grids[rows] += resampled * share[rows, None, None]
    return RegionMasks(grids, boxes, masks.size)


def _resample(grids: Tensor, boxes: Tensor, onto: Tensor) -> Tensor:
    """(n, side, side) probabilities over boxes `onto` (n, 4) of grids (n, side, side) over `boxes` (n, 4), all xyxy.

    Outside its own box a mask is zero.
    """
    side = grids.shape[-1]
    centres = (torch.arange(side, device=grids.device) + 0.5) / side
    axes = []
    for low, high in ((0, 2), (1, 3)):
        places = onto[:, low, None] + centres * (onto[:, high] - onto[:, low])[:, None]
        extent = (boxes[:, high] - boxes[:, low]).clamp(min=1e-6)
        axes.append((places - boxes[:, low, None]) / extent[:, None] * 2 - 1)
    x, y = (axis.float() for axis in axes)
    places = torch.stack((x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)), dim=-1)
    inside = (places.abs() <= 1).all(dim=-1)
    sampled = F.grid_sample(grids[:, None].float(), places, padding_mode="border", align_corners=False)
    return sampled[:, 0] * inside
