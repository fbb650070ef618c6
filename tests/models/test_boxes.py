"""Properties of box formats and overlaps that hold for every box."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from codetr.models.boxes import (
    box_area,
    clip_boxes,
    cxcywh_to_xyxy,
    giou_matrix,
    iou_matrix,
    paired_giou,
    paired_iou,
    xyxy_to_cxcywh,
)
from tests.support.models.random_boxes import boxes, xyxy


@given(boxes)
def test_conversions_undo_each_other(items: list) -> None:
    corners = xyxy(items)
    torch.testing.assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(corners)), corners, rtol=1e-5, atol=1e-3)


@given(boxes, boxes)
def test_overlaps_are_symmetric_and_bounded(some: list, others: list) -> None:
    first, second = xyxy(some), xyxy(others)
    iou, giou = iou_matrix(first, second), giou_matrix(first, second)
    torch.testing.assert_close(iou, iou_matrix(second, first).T)
    torch.testing.assert_close(giou, giou_matrix(second, first).T)
    assert ((iou >= 0) & (iou <= 1 + 1e-5)).all()
    assert ((giou >= -1) & (giou <= iou + 1e-5)).all()


@given(boxes)
def test_a_box_overlaps_itself_wholly(items: list) -> None:
    corners = xyxy(items)
    torch.testing.assert_close(paired_iou(corners, corners), torch.ones(len(corners)))
    torch.testing.assert_close(paired_giou(corners, corners), torch.ones(len(corners)))


@given(boxes, st.integers(1, 1000), st.integers(1, 1000))
def test_clipped_boxes_lie_in_the_image(items: list, height: int, width: int) -> None:
    clipped = clip_boxes(xyxy(items), (height, width))
    assert (clipped >= 0).all()
    assert (clipped[:, [0, 2]] <= width).all()
    assert (clipped[:, [1, 3]] <= height).all()
    assert (box_area(clipped) >= 0).all()
    assert torch.equal(clip_boxes(clipped, (height, width)), clipped)


def test_overlaps_of_empty_boxes_are_finite_with_finite_gradients() -> None:
    """A query may predict a box of no size; NaN in one box would end the training."""
    empty = torch.zeros(3, 4, requires_grad=True)
    others = torch.tensor([[0.0, 0, 0, 0], [0, 0, 1, 1], [5, 5, 9, 9]])
    total = paired_iou(empty, others).sum() + paired_giou(empty, others).sum()
    total.backward()
    assert total.isfinite()
    assert empty.grad is not None
    assert empty.grad.isfinite().all()
