"""Sampling of customised positive queries."""

from __future__ import annotations

import torch

from codetr.models.config import AuxiliaryPadding
from codetr.models.heads.query.positive_queries import PositiveQueries, sample_positive_queries
from tests.support.models.auxiliary_heads import (
    CLASSES,
)


def queries_of(labels: list[list[int]], limit: int, padding: AuxiliaryPadding = "background") -> PositiveQueries:
    table = torch.tensor(labels)
    count = table.numel()
    features = torch.arange(count, dtype=torch.float32).reshape(*table.shape, 1)
    boxes = features.expand(-1, -1, 4) + torch.tensor([0.0, 0, 10, 20])
    return sample_positive_queries(
        boxes,
        table,
        boxes,
        features,
        [(100, 50)] * len(labels),
        num_classes=CLASSES,
        limit=limit,
        permute=lambda n, device: torch.arange(n, device=device).flip(0),
        padding=padding,
    )


def test_every_image_gets_as_many_queries_as_the_fullest() -> None:
    queries = queries_of([[3, 0, 3, 1] + [3] * 16, [2] * 12 + [3] * 8], limit=300)
    assert queries.labels.tolist() == [[0, 1] + [3] * 10, [2] * 12]
    assert queries.label_weights.min() == 1
    # Background is drawn by the permutation, which here runs backwards.
    assert queries.features[0, :, 0].tolist() == [1, 3, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10]
    torch.testing.assert_close(queries.boxes_cxcywh[0, 0], torch.tensor([6 / 50, 11 / 100, 10 / 50, 20 / 100]))


def test_too_much_foreground_is_drawn_from() -> None:
    queries = queries_of([[0] * 30, [3] * 30], limit=10)
    assert queries.features[0, :, 0].tolist() == list(range(29, 19, -1))
    assert queries.labels.tolist() == [[0] * 10, [3] * 10]


def test_too_few_boxes_are_made_up_by_queries_without_weight() -> None:
    queries = queries_of([[3, 1, 3]], limit=300)
    assert queries.labels.shape == (1, 9)
    assert queries.label_weights.sum() == 3
    assert queries.box_weights.sum() == 1
    assert queries.labels[0, 0] == 1
    assert (queries.labels[queries.label_weights == 0] == CLASSES).all()


def test_padding_with_zeros_gives_empty_queries_without_a_loss_and_draws_nothing() -> None:
    """Background boxes would add a classification loss, and move the random numbers of later draws."""
    queries = queries_of([[3, 0, 3, 1] + [3] * 16, [2] * 12 + [3] * 8], limit=300, padding="zeros")
    assert queries.labels.tolist() == [[0, 1] + [CLASSES] * 10, [2] * 12]
    assert queries.label_weights.tolist() == [[1, 1] + [0] * 10, [1] * 12]
    assert queries.features[0, :, 0].tolist() == [1, 3] + [0] * 10
    assert not queries.boxes_cxcywh[0, 2:].any()
    assert not queries.target_boxes_cxcywh[0, 2:].any()
    assert queries.boxes_cxcywh[1].any(dim=1).all()
