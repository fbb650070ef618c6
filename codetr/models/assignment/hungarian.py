"""Matching queries to objects one to one at the lowest total cost (Carion et al., "DETR", ECCV 2020, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from codetr.models.boxes import cxcywh_to_xyxy, giou_matrix, xyxy_to_cxcywh
from codetr.models.config import MatchingCosts
from codetr.models.structures import ImageBatch, Target
from codetr.models.transformer.prediction_heads import QueryPredictions

_ALPHA, _GAMMA, _EPSILON = 0.25, 2.0, 1e-12


@torch.no_grad()
def matching_cost(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    object_boxes: Tensor,
    *,
    size: tuple[int, int],
    weights: MatchingCosts,
) -> Tensor:
    """What it costs to make a query responsible for an object: focal classification, L1 and GIoU cost.

    Args:
        logits: (..., queries, classes) of one image; leading axes, e.g. decoder layers, are independent.
        boxes: (..., queries, 4) cxcywh, normalised by `size`.
        labels: (objects,) int64.
        object_boxes: (objects, 4) xyxy pixels.
        size: (height, width) of the image in pixels.
        weights: of the three costs.

    Returns:
        (..., queries, objects) float32.
    """
    height, width = size
    scale = boxes.new_tensor([width, height, width, height])
    probabilities = logits.float().sigmoid()[..., labels]
    negative = -(1 - probabilities + _EPSILON).log() * (1 - _ALPHA) * probabilities.pow(_GAMMA)
    positive = -(probabilities + _EPSILON).log() * _ALPHA * (1 - probabilities).pow(_GAMMA)
    targets = xyxy_to_cxcywh(object_boxes / scale)
    l1 = (boxes[..., :, None, :] - targets[..., None, :, :]).abs().sum(-1)
    giou = giou_matrix(cxcywh_to_xyxy(boxes) * scale, object_boxes)
    return weights.classification * (positive - negative) + weights.l1 * l1 - weights.giou * giou


def assign(costs: Sequence[Tensor]) -> list[Tensor]:
    """Solve many assignment problems, with one copy from the device and one back.

    Args:
        costs: tensors (..., queries, objects) of any leading shape. A cost that is not finite, which only a model
            that has diverged gives, counts as very high: the losses themselves then show what is wrong.

    Returns:
        For every tensor (..., queries) int64: the object a query is matched to, -1 for none.
    """
    if not costs:
        return []
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
            chosen, partner = linear_sum_assignment(matrix)
            row[chosen] = partner
        matches.append(match.reshape(-1))
    joined = torch.from_numpy(np.concatenate(matches)).to(device)
    parts = joined.split([len(match) for match in matches])
    return [part.view(cost.shape[:-1]) for part, cost in zip(parts, costs, strict=True)]


def match_predictions(
    problems: Sequence[tuple[QueryPredictions, Sequence[Target]]], batch: ImageBatch, weights: MatchingCosts
) -> list[list[Tensor]]:
    """Match predictions with objects, all problems, layers and images in one go.

    Args:
        problems: predictions and the ground truth of every image.
        batch: the images.
        weights: of the costs.

    Returns:
        For every problem and image (layers, queries) int64: the object of each query, -1 for none.
    """
    matches = iter(
        assign(
            [
                matching_cost(
                    predictions.logits[:, image],
                    predictions.boxes[:, image],
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
