"""Assigners and samplers where there is little or nothing to assign, and against their definitions."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codetr.models.assignment.atss import ATSSAssigner
from codetr.models.assignment.max_iou import MaxIoUAssigner
from codetr.models.assignment.random_sampler import RandomSampler
from codetr.models.boxes import iou_matrix
from codetr.models.heads.dense.anchors import AnchorGenerator

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


def test_atss_without_objects_or_anchors() -> None:
    anchors = torch.cat(AnchorGenerator((8, 16)).grid([(4, 4), (2, 2)]))
    assign = ATSSAssigner(9)
    assert assign(anchors, [16, 4], torch.zeros(0, 4)).tolist() == [0] * 20
    assert assign(torch.zeros(0, 4), [0, 0], torch.ones(2, 4)).tolist() == []


def atss_by_definition(levels: list[Tensor], objects: Tensor) -> list[int]:
    """Algorithm 1 of the paper, object by object; a contested anchor goes to the object it overlaps most."""
    anchors = torch.cat(levels)
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    best, assigned = [0.0] * len(anchors), [0] * len(anchors)
    for number, gt_box in enumerate(objects, start=1):
        distances = (centers - (gt_box[:2] + gt_box[2:]) / 2).norm(dim=1)
        candidates, start = [], 0
        for level in levels:
            nearest = distances[start : start + len(level)].argsort()[:9]
            candidates += (nearest + start).tolist()
            start += len(level)
        overlaps = iou_matrix(anchors[candidates], gt_box[None])[:, 0]
        threshold = overlaps.mean() + overlaps.std()
        for anchor, overlap in zip(candidates, overlaps, strict=True):
            x, y = centers[anchor]
            inside = min(x - gt_box[0], y - gt_box[1], gt_box[2] - x, gt_box[3] - y) > 0.01
            if overlap >= threshold and inside and overlap > best[anchor]:
                best[anchor], assigned[anchor] = overlap.item(), number
    return assigned


def test_atss_follows_its_definition() -> None:
    torch.manual_seed(0)
    levels = AnchorGenerator((8, 16, 32)).grid([(12, 16), (6, 8), (3, 4)])
    corners, sides = torch.rand(25, 2) * 80, torch.rand(25, 2) * 60 + 4
    objects = torch.cat((corners, corners + sides), dim=1)
    assigned = ATSSAssigner(9)(torch.cat(levels), [len(level) for level in levels], objects)
    expected = atss_by_definition(levels, objects)
    assert assigned.tolist() == expected
    assert len(set(expected)) > 15


def test_sampler_draws_no_more_than_it_may() -> None:
    assigned = torch.cat((torch.full((30,), 2), torch.zeros(100, dtype=torch.int64), torch.full((10,), -1)))
    positives, negatives = RandomSampler(40, 0.25)(assigned, lambda count, device: torch.randperm(count))
    assert len(positives) == 10
    assert len(negatives) == 30
    assert (assigned[positives] == 2).all()
    assert (assigned[negatives] == 0).all()
    assert positives.tolist() == sorted(set(positives.tolist()))
    assert negatives.tolist() == sorted(set(negatives.tolist()))


def test_background_fills_up_what_foreground_leaves() -> None:
    assigned = torch.tensor([0, 1, 0, -1, 0, 0])
    positives, negatives = RandomSampler(4, 0.5)(assigned, lambda count, device: torch.arange(count))
    assert positives.tolist() == [1]
    assert negatives.tolist() == [0, 2, 4]
