"""Assignment by IoU against its definition."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codetr.models.assignment.max_iou import MaxIoUAssigner
from codetr.models.boxes import iou_matrix

cell = st.integers(0, 6)
boxes = st.lists(st.tuples(cell, cell, st.integers(1, 5), st.integers(1, 5)), max_size=10)


def xyxy(items: list[tuple[int, int, int, int]]) -> Tensor:
    table = torch.tensor(items, dtype=torch.float32).reshape(-1, 4)
    return torch.cat((table[:, :2], table[:, :2] + table[:, 2:]), dim=1)


def max_iou_by_definition(anchors: Tensor, objects: Tensor) -> list[int]:
    """Thresholds 0.7 and 0.3, then object by object the claims on its best anchors."""
    if not len(objects):
        return [0] * len(anchors)
    overlaps = iou_matrix(objects, anchors)
    assigned = []
    for column in overlaps.T:
        best = column.max().item()
        assigned.append(int(column.argmax()) + 1 if best >= 0.7 else 0 if best < 0.3 else -1)
    for number, row in enumerate(overlaps, start=1):
        if len(row) and row.max() >= 0.3:
            for anchor in (row == row.max()).nonzero().flatten().tolist():
                assigned[anchor] = number
    return assigned


@settings(deadline=None)
@given(boxes, boxes, st.sampled_from([1, 20, 2**18]))
def test_assignment_by_overlap_follows_its_definition(anchors: list, objects: list, chunk: int) -> None:
    """On a small grid many overlaps are equal: ties between objects, also across chunks, are decided as defined."""
    assign = MaxIoUAssigner(0.7, 0.3, min_positive_iou=0.3, low_quality=True, chunk=chunk)
    expected = max_iou_by_definition(xyxy(anchors), xyxy(objects))
    assert assign(xyxy(anchors), xyxy(objects)).tolist() == expected
