"""ATSS against its definition, and without objects or anchors."""

from __future__ import annotations

import torch
from torch import Tensor

from codetr.models.assignment.atss import ATSSAssigner
from codetr.models.boxes import iou_matrix
from codetr.models.heads.dense.anchors import AnchorGenerator


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
