"""Assignments are optimal, for any shape of problem, and cost one copy from the device."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from codetr.models.assignment.hungarian import hungarian_assignment
from codetr.models.config import DetectorKind
from codetr.models.detector import build_detector
from tests.support.models.tiny_detector import KINDS, random_batch, tiny_config


def best_total(cost: Tensor) -> float:
    """The lowest total by trying all assignments of a small (queries, objects) matrix."""
    queries, objects = cost.shape
    if objects > queries:
        return best_total(cost.T)
    orders = itertools.permutations(range(queries), objects)
    return min(sum(cost[query, index].item() for index, query in enumerate(order)) for order in orders)


@pytest.mark.parametrize(("queries", "objects"), [(5, 3), (3, 3), (3, 5), (4, 1), (3, 0)])
def test_assignments_are_optimal(queries: int, objects: int) -> None:
    torch.manual_seed(queries * 10 + objects)
    costs = torch.randn(2, queries, objects)
    (matches,) = hungarian_assignment([costs])
    assert matches.shape == (2, queries)
    for cost, match in zip(costs, matches, strict=True):
        chosen = match[match >= 0]
        assert len(chosen) == len(chosen.unique()) == min(queries, objects)
        total = sum(cost[query, index].item() for query, index in enumerate(match.tolist()) if index >= 0)
        if objects:
            assert total == pytest.approx(best_total(cost), abs=1e-5)


def test_problems_of_different_shapes_keep_apart() -> None:
    torch.manual_seed(0)
    costs = [torch.randn(3, 6, 2), torch.randn(1, 9, 4), torch.randn(2, 4, 0)]
    together = hungarian_assignment(costs)
    for cost, match in zip(costs, together, strict=True):
        assert torch.equal(match, hungarian_assignment([cost])[0])


def test_costs_that_are_not_finite_do_not_hide_a_diverged_model_behind_an_error() -> None:
    cost = torch.tensor([[float("nan"), 1.0], [2.0, float("inf")], [float("-inf"), 3.0]])
    (match,) = hungarian_assignment([cost[None]])
    assert sorted(match[match >= 0].tolist()) == [0, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_copies_costs_from_the_device_once(kind: DetectorKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """For all layers, images, and the encoder's proposals together."""
    copies: list[torch.Size] = []
    original = Tensor.cpu

    def counting(tensor: Tensor) -> Tensor:
        copies.append(tensor.shape)
        return original(tensor)

    monkeypatch.setattr(Tensor, "cpu", counting)
    torch.manual_seed(0)
    detector = build_detector(tiny_config(kind, rpn=None, roi=None, atss=None)).train()
    detector(*random_batch((2, 3)))
    assert len(copies) == 1
