"""Customised positive queries (Zong et al., "Co-DETR", ICCV 2023, section 3.3).

The boxes that an auxiliary head was trained on as foreground become additional decoder queries, whose targets are
known without matching.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from codetr.models.assignment.random_sampler import Permute
from codetr.models.boxes import xyxy_to_cxcywh

_MIN_QUERIES = 9


@dataclass
class PositiveQueries:
    """Queries made of the training boxes of an auxiliary head, the same number for every image.

    Attributes:
        boxes: (batch, queries, 4) normalised cxcywh, without gradient.
        targets: (batch, queries, 4) normalised cxcywh of the object, zeros for background.
        labels: (batch, queries) int64; the number of classes means background.
        label_weights: (batch, queries), 0 where an image had too few boxes, else 1.
        box_weights: (batch, queries), 1 for foreground.
        features: (batch, queries, channels) what the head saw at the box, with gradient.
    """

    boxes: Tensor
    targets: Tensor
    labels: Tensor
    label_weights: Tensor
    box_weights: Tensor
    features: Tensor


def sample_positive_queries(
    boxes: Tensor,
    labels: Tensor,
    targets: Tensor,
    features: Tensor,
    image_sizes: Sequence[tuple[int, int]],
    *,
    num_classes: int,
    limit: int,
    permute: Permute,
) -> PositiveQueries:
    """Pick the queries of a batch: all foreground up to `limit`, filled up with background.

    Every image gets as many as the one with the most foreground, and at least nine.

    Args:
        boxes: (batch, n, 4) xyxy pixels that the head was trained on.
        labels: (batch, n) int64, `num_classes` for background.
        targets: (batch, n, 4) xyxy pixels of the object of each box.
        features: (batch, n, channels) of the boxes.
        image_sizes: (height, width) in pixels by which boxes are normalised.
        num_classes: label of background.
        limit: most queries per image.
        permute: draws which foreground is kept if there is too much, and which background fills up.
    """
    foreground = (labels < num_classes).sum(dim=1).tolist()
    count = max(_MIN_QUERIES, min(limit, max(foreground)))
    available = labels.shape[1]
    missing = max(0, count - available)
    boxes, targets, features = (F.pad(x, (0, 0, 0, missing)) for x in (boxes, targets, features))
    labels = F.pad(labels, (0, missing), value=num_classes)
    # Foreground first, each part in its own order.
    order = (labels == num_classes).byte().argsort(dim=1, stable=True)
    rows = [_pick(row, positives, count, permute) for row, positives in zip(order, foreground, strict=True)]
    chosen = torch.stack(rows)
    scale = boxes.new_tensor([(width, height, width, height) for height, width in image_sizes])[:, None]
    chosen_labels = labels.gather(1, chosen)
    coordinates = chosen[..., None].expand(-1, -1, 4)
    return PositiveQueries(
        xyxy_to_cxcywh(boxes.gather(1, coordinates) / scale),
        xyxy_to_cxcywh(targets.gather(1, coordinates) / scale),
        chosen_labels,
        (chosen < available).float(),
        (chosen_labels < num_classes).float(),
        features.gather(1, chosen[..., None].expand(-1, -1, features.shape[-1])),
    )


def _pick(order: Tensor, positives: int, count: int, permute: Permute) -> Tensor:
    """(count,) indices out of `order` (n,), of which the first `positives` are foreground."""
    foreground, background = order[:positives], order[positives:]
    if positives >= count:
        return foreground if positives == count else foreground[permute(positives, order.device)[:count]]
    filling = background[permute(len(background), order.device)[: count - positives]]
    return torch.cat((foreground, filling))
