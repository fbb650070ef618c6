"""Random sampling of foreground and background."""

from __future__ import annotations

import torch

from codetr.models.assignment.random_sampler import RandomSampler


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
