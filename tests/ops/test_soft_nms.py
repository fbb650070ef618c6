"""Soft-NMS against its definition, ties included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codetr.models.boxes import paired_iou
from codetr.ops.soft_nms import soft_nms


def soft_nms_by_definition(boxes: Tensor, scores: Tensor, threshold: float, min_score: float) -> tuple[list, list]:
    """Selection sort with swaps, one box at a time."""
    items = [[score.clone(), index] for index, score in enumerate(scores)]
    done = 0
    while done < len(items):
        best = max(range(done, len(items)), key=lambda position: (items[position][0].item(), -position))
        items[done], items[best] = items[best], items[done]
        position = done + 1
        while position < len(items):
            iou = paired_iou(boxes[items[done][1]], boxes[items[position][1]])
            if iou >= torch.tensor(threshold):
                items[position][0] *= 1 - iou
            if items[position][0] < torch.tensor(min_score):
                items[position] = items[-1]
                items.pop()
            else:
                position += 1
        done += 1
    return [item[0].item() for item in items], [item[1] for item in items]


# Few positions and scores, so that equal boxes, equal scores and exact thresholds are common.
corner = st.integers(0, 4)
item = st.tuples(corner, corner, st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.5, 1]))


@settings(deadline=None, max_examples=150)
@given(st.lists(item, max_size=12), st.sampled_from([0.1, 0.5, 0.75]), st.sampled_from([0.001, 0.1, 0.3]))
def test_soft_nms_follows_its_definition(items: list, threshold: float, min_score: float) -> None:
    table = torch.tensor(items, dtype=torch.float32).reshape(-1, 5)
    boxes, scores = torch.cat((table[:, :2], table[:, :2] + table[:, 2:4]), dim=1), table[:, 4]
    expected_scores, expected_kept = soft_nms_by_definition(boxes, scores, threshold, min_score)
    kept_scores, kept = soft_nms(boxes, scores, threshold, min_score=min_score)
    assert kept.tolist() == expected_kept
    assert kept_scores.tolist() == pytest.approx(expected_scores, rel=1e-6)
    limited_scores, limited = soft_nms(boxes, scores, threshold, min_score=min_score, limit=3)
    assert limited.tolist() == expected_kept[:3]
    assert limited_scores.tolist() == kept_scores[:3].tolist()
