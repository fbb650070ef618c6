"""Customised positive queries (Zong et al., "Co-DETR", ICCV 2023, section 3.3).

The foreground boxes that an auxiliary head was trained on become additional decoder queries, whose targets are known
without matching.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from codetr.models.assignment.random_sampler import Permute
from codetr.models.boxes import xyxy_to_cxcywh
from codetr.models.config import AuxiliaryPadding

_MIN_QUERIES = 9


@dataclass
class PositiveQueries:
    """Queries made of the training boxes of an auxiliary head, the same number for every image.

    Attributes:
        boxes_cxcywh: (batch, queries, 4) normalised, without gradient.
        target_boxes_cxcywh: (batch, queries, 4) normalised boxes of the objects, zeros for background.
        labels: (batch, queries) int64; the number of classes means background.
        label_weights: (batch, queries), 0 for queries that pad an image and have no loss, else 1.
        box_weights: (batch, queries), 1 for foreground, else 0.
        features: (batch, queries, channels) features of the head at the box, with gradient.
    """

    boxes_cxcywh: Tensor
    target_boxes_cxcywh: Tensor
    labels: Tensor
    label_weights: Tensor
    box_weights: Tensor
    features: Tensor


def sample_positive_queries(
    boxes_xyxy: Tensor,
    labels: Tensor,
    target_boxes_xyxy: Tensor,
    features: Tensor,
    image_sizes: Sequence[tuple[int, int]],
    *,
    num_classes: int,
    limit: int,
    permute: Permute,
    padding: AuxiliaryPadding = "background",
) -> PositiveQueries:
    """Sample the queries of a batch: all foreground boxes up to `limit`, filled up to the same number for every image.

    Every image has as many as the image with the most foreground, and at least nine.

    Args:
        boxes_xyxy: (batch, n, 4) pixels, boxes that the head was trained on.
        labels: (batch, n) int64, `num_classes` for background.
        target_boxes_xyxy: (batch, n, 4) pixels, box of the object of each box.
        features: (batch, n, channels) of the boxes.
        image_sizes: (height, width) in pixels by which boxes are normalised.
        num_classes: label of background.
        limit: most queries per image.
        permute: draws which foreground boxes are kept if there are too many, and which background boxes fill up.
        padding: what fills up: "background" boxes, or "zeros", empty boxes without weight.
    """
    foreground = (labels < num_classes).sum(dim=1).tolist()
    count = max(_MIN_QUERIES, min(limit, max(foreground)))
    available = labels.shape[1]
    missing = max(0, count - available)
    boxes_xyxy, target_boxes_xyxy, features = (
        F.pad(x, (0, 0, 0, missing)) for x in (boxes_xyxy, target_boxes_xyxy, features)
    )
    labels = F.pad(labels, (0, missing), value=num_classes)
    # Foreground first; a stable sort keeps the order within foreground and background.
    order = (labels == num_classes).byte().argsort(dim=1, stable=True)
    rows = [_sample(row, positives, count, permute, padding) for row, positives in zip(order, foreground, strict=True)]
    sampled = torch.stack(rows)
    scale = boxes_xyxy.new_tensor([(width, height, width, height) for height, width in image_sizes])[:, None]
    sampled_labels = labels.gather(1, sampled)
    coordinates = sampled[..., None].expand(-1, -1, 4)
    box_weights = (sampled_labels < num_classes).float()
    queries = PositiveQueries(
        xyxy_to_cxcywh(boxes_xyxy.gather(1, coordinates) / scale),
        xyxy_to_cxcywh(target_boxes_xyxy.gather(1, coordinates) / scale),
        sampled_labels,
        (sampled < available).float(),
        box_weights,
        features.gather(1, sampled[..., None].expand(-1, -1, features.shape[-1])),
    )
    if padding == "background":
        return queries
    kept = box_weights[..., None]
    return PositiveQueries(
        queries.boxes_cxcywh * kept,
        queries.target_boxes_cxcywh * kept,
        sampled_labels,
        box_weights,
        box_weights,
        queries.features * kept,
    )


def _sample(order: Tensor, positives: int, count: int, permute: Permute, padding: AuxiliaryPadding) -> Tensor:
    """Sample `count` indices from `order` (n,), whose first `positives` are foreground: (count,) int64."""
    foreground, background = order[:positives], order[positives:]
    if positives >= count:
        return foreground if positives == count else foreground[permute(positives, order.device)[:count]]
    if padding == "background":
        background = background[permute(len(background), order.device)]
    return torch.cat((foreground, background[: count - positives]))
