"""One set of detections from several views of an image.

Detections of different views that show the same object are brought together; those of one view never are, for there
the model itself has said what are two objects. One view alone therefore stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from codetr.models.masks import RegionMasks
from codetr.models.structures import Detections

_CHUNK = 256
"""Masks that are resampled at a time."""


def fuse(views: Sequence[Detections], iou_threshold: float) -> Detections:
    """Average views that each show the whole image ("weighted boxes fusion", Solovyev et al., 2021, with masks).

    A box is the mean of the boxes that were brought together, weighted by their scores, and so is a mask, as
    probabilities. A score is the mean over all views, where a view without the object counts as zero. An image
    keeps as many detections as the view with the most.

    Args:
        views: detections in pixels of the same image, at least one view.
        iou_threshold: overlap with the best detection of an object from which another of its class belongs to it.
    """
    together, groups, leaders = _match(views, iou_threshold)
    count = len(leaders)
    weights = together.scores.clamp(min=1e-6)
    totals = weights.new_zeros(count).index_add_(0, groups, weights)
    shares = weights / totals[groups]
    alone = torch.bincount(groups, minlength=count) == 1
    boxes = together.boxes.new_zeros(count, 4).index_add_(0, groups, together.boxes * shares[:, None])
    boxes = torch.where(alone[:, None], together.boxes[leaders], boxes)
    scores = weights.new_zeros(count).index_add_(0, groups, together.scores) / len(views)
    fused = Detections(boxes, scores, together.labels[leaders])
    if together.masks is not None:
        fused.masks = _fuse_masks(together.masks, boxes, groups, leaders, shares, alone)
    if together.mask_scores is not None:
        fused.mask_scores = weights.new_zeros(count).index_add_(0, groups, together.mask_scores) / len(views)
    return fused[scores.argsort(descending=True, stable=True)[: max(map(len, views))]]


def suppress(views: Sequence[Detections], iou_threshold: float) -> Detections:
    """Keep the best detection of every object that several views show: non-maximum suppression between views.

    Args:
        views: detections in pixels of the same image, at least one view.
        iou_threshold: overlap from which detections of a class are one object.
    """
    together, _, leaders = _match(views, iou_threshold)
    return together[leaders]


def _match(views: Sequence[Detections], iou_threshold: float) -> tuple[Detections, Tensor, Tensor]:
    """Find which detections of different views are the same object.

    From the best score down, a detection joins the object of its class whose best detection it overlaps most, unless
    that has one of the same view already; what fits nowhere is an object of its own.

    Returns:
        All detections, best first; (detections,) int64, the object of each; (objects,) int64, the best of each.
    """
    views_of = torch.cat([torch.full((len(view),), number) for number, view in enumerate(views)])
    together = _concatenate(views)
    order = together.scores.argsort(descending=True, stable=True)
    together, views_of = together[order], views_of[order.cpu()]
    boxes, labels = together.boxes.float().cpu().numpy(), together.labels.cpu().numpy()
    groups = np.zeros(len(boxes), np.int64)
    leaders: list[int] = []
    # The first rows of these are the objects so far.
    heads, kinds = np.zeros_like(boxes), np.zeros_like(labels)
    seen = np.zeros((len(boxes), len(views)), bool)
    for index, view in enumerate(views_of.tolist()):
        group = count = len(leaders)
        if count:
            overlaps = _overlaps(boxes[index], heads[:count])
            overlaps[(kinds[:count] != labels[index]) | seen[:count, view]] = -1
            best = int(overlaps.argmax())
            group = best if overlaps[best] >= iou_threshold else count
        if group == count:
            leaders.append(index)
            heads[group], kinds[group] = boxes[index], labels[index]
        groups[index] = group
        seen[group, view] = True
    device = together.boxes.device
    return together, torch.from_numpy(groups).to(device), torch.tensor(leaders, dtype=torch.int64, device=device)


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


def _overlaps(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) intersection over union of a box (4,) with others (n, 4), all xyxy."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    intersection = sides.clip(min=0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    return intersection / np.maximum((box[2:] - box[:2]).prod() + areas - intersection, 1e-9)


def _fuse_masks(
    masks: RegionMasks, boxes: Tensor, groups: Tensor, leaders: Tensor, shares: Tensor, alone: Tensor
) -> RegionMasks:
    """Mean probabilities over the fused boxes (objects, 4); masks of one view only are taken over."""
    grids = masks.probabilities[leaders]
    grids[~alone] = 0
    members = (~alone[groups]).nonzero().squeeze(1)
    for part in members.split(_CHUNK):
        owners = groups[part]
        resampled = _resample(masks.probabilities[part], masks.boxes[part], boxes[owners])
        grids.index_add_(0, owners, resampled * shares[part, None, None])
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
