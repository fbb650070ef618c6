"""Hungarian matching of queries to objects, one to one, at the lowest cost (Carion et al., "DETR", ECCV 2020, 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from codetr.models.boxes import cxcywh_to_xyxy, giou_matrix, xyxy_to_cxcywh
from codetr.models.config import MatchingCosts
from codetr.models.structures import ImageBatch, Target
from codetr.models.transformer.prediction_heads import QueryPredictions

_ALPHA, _GAMMA, _EPSILON = 0.25, 2.0, 1e-12
"""Of the focal classification cost (Zhu et al., "Deformable DETR", ICLR 2021)."""


@torch.no_grad()
def matching_cost(
    logits: Tensor,
    boxes_cxcywh: Tensor,
    gt_labels: Tensor,
    gt_boxes_xyxy: Tensor,
    *,
    size: tuple[int, int],
    weights: MatchingCosts,
) -> Tensor:
    """Return the cost of matching every query with every object: focal classification, L1 and GIoU.

    Args:
        logits: (..., queries, classes) of one image; leading axes, e.g. decoder layers, are independent.
        boxes_cxcywh: (..., queries, 4) predicted boxes, normalised by `size`.
        gt_labels: (objects,) int64.
        gt_boxes_xyxy: (objects, 4) pixels.
        size: (height, width) of the image in pixels.
        weights: weights of the three costs.

    Returns:
        (..., queries, objects) float32.
    """
    height, width = size
    scale = boxes_cxcywh.new_tensor([width, height, width, height])
    probabilities = logits.float().sigmoid()[..., gt_labels]
    negative = -(1 - probabilities + _EPSILON).log() * (1 - _ALPHA) * probabilities.pow(_GAMMA)
    positive = -(probabilities + _EPSILON).log() * _ALPHA * (1 - probabilities).pow(_GAMMA)
    gt_boxes_cxcywh = xyxy_to_cxcywh(gt_boxes_xyxy / scale)
    l1 = (boxes_cxcywh[..., :, None, :] - gt_boxes_cxcywh[..., None, :, :]).abs().sum(-1)
    giou = giou_matrix(cxcywh_to_xyxy(boxes_cxcywh) * scale, gt_boxes_xyxy)
    return weights.classification * (positive - negative) + weights.l1 * l1 - weights.giou * giou


def hungarian_assignment(costs: Sequence[Tensor]) -> list[Tensor]:
    """Solve many assignment problems, with one copy from the device and one back.

    Args:
        costs: tensors (..., queries, objects) with any leading axes. Non-finite costs, which only a diverged model
            produces, count as very high; the losses then show the problem.

    Returns:
        For every tensor (..., queries) int64: index of the object that a query is matched with, -1 for none.
    """
    if not costs:
        return []
    # Half a second to import, and only training needs it.
    from scipy.optimize import linear_sum_assignment

    device = costs[0].device
    flat = torch.cat([cost.reshape(-1) for cost in costs])
    host = torch.nan_to_num(flat, nan=1e8, posinf=1e8, neginf=-1e8).cpu().numpy()
    matches, start = [], 0
    for cost in costs:
        queries, objects = cost.shape[-2:]
        matrices = host[start : start + cost.numel()].reshape(cost.shape[:-2].numel(), queries, objects)
        start += cost.numel()
        match = np.full((len(matrices), queries), -1, dtype=np.int64)
        for row, matrix in zip(match, matrices, strict=True):
            query_indices, object_indices = linear_sum_assignment(matrix)
            row[query_indices] = object_indices
        matches.append(match.reshape(-1))
    joined = torch.from_numpy(np.concatenate(matches)).to(device)
    parts = joined.split([len(match) for match in matches])
    return [part.view(cost.shape[:-1]) for part, cost in zip(parts, costs, strict=True)]


def match_predictions(
    problems: Sequence[tuple[QueryPredictions, Sequence[Target]]], batch: ImageBatch, weights: MatchingCosts
) -> list[list[Tensor]]:
    """Match predictions with ground truth: all problems, layers and images at once.

    Args:
        problems: pairs of predictions and the ground truth of every image.
        batch: the images.
        weights: weights of the matching costs.

    Returns:
        For every problem and image (layers, queries) int64: index of the matched object, -1 for none.
    """
    matches = iter(
        hungarian_assignment(
            [
                matching_cost(
                    predictions.logits[:, image],
                    predictions.boxes_cxcywh[:, image],
                    target.labels,
                    target.boxes,
                    size=batch.image_sizes[image],
                    weights=weights,
                )
                for predictions, targets in problems
                for image, target in enumerate(targets)
            ]
        )
    )
    return [[next(matches) for _ in targets] for _, targets in problems]
