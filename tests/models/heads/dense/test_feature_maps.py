"""Helpers of dense heads against their definitions."""

from __future__ import annotations

import torch

from codetr.models.heads.dense.feature_maps import top_indices


def test_the_top_indices_are_those_of_a_stable_sort() -> None:
    """Thousands of saturated scores are equal; which of them are kept must not depend on the machine."""
    torch.manual_seed(0)
    scores = (torch.rand(2000) * 20).round() / 20
    order = scores.argsort(descending=True, stable=True)
    expected = [index for index in order.tolist() if scores[index] > 0.1]
    for count in (1, 7, 500, 2000, 5000):
        assert top_indices(scores, count, 0.1).tolist() == expected[:count]
