"""Suppression within classes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from codetr.ops.nms import SuppressionMethod, batched_nms, multiclass_nms


def random_boxes(count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    corners = torch.rand(count, 2, generator=generator) * 800
    sides = torch.rand(count, 2, generator=generator) * 300
    labels = torch.randint(5, (count,), generator=generator)
    return torch.cat((corners, corners + sides), dim=1), torch.rand(count, generator=generator), labels


@pytest.mark.parametrize("method", ["nms", "soft_nms"])
def test_one_class_after_the_other_keeps_the_same_boxes(method: SuppressionMethod) -> None:
    """The number of boxes decides between the two ways, whose results must agree."""
    boxes, scores, labels = random_boxes(400)
    at_once = batched_nms(boxes, scores, labels, 0.5, method=method, limit=150)
    one_by_one = batched_nms(boxes, scores, labels, 0.5, method=method, limit=150, split_threshold=1)
    assert torch.equal(at_once[1], one_by_one[1])
    torch.testing.assert_close(at_once[0], one_by_one[0])


def test_boxes_of_different_classes_do_not_suppress_each_other() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]]).expand(3, 4)
    scores, labels = torch.tensor([0.3, 0.9, 0.6]), torch.tensor([0, 1, 1])
    assert batched_nms(boxes, scores, labels, 0.5)[1].tolist() == [1, 0]


@pytest.mark.parametrize("method", ["nms", "soft_nms"])
def test_nothing_to_suppress(method: SuppressionMethod) -> None:
    empty = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    scores, kept = batched_nms(*empty, 0.5, method=method)
    assert len(scores) == len(kept) == 0
    assert kept.dtype == torch.int64
    boxes, scores, labels = multiclass_nms(torch.zeros(3, 1, 4), torch.zeros(3, 7), 0.5, method=method)
    assert boxes.shape == (0, 4)
    assert len(scores) == len(labels) == 0
