"""The warning about steps that take very long."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from codetr.training.reporting.step_estimate import StepEstimate


@pytest.mark.parametrize(
    ("seconds", "micro_batches", "warning"),
    [
        (180.0, 1, "about 9 minutes on this CPU, the 1000 steps of this run about 6 days"),
        (10.0, 2, "about 80 seconds on this CPU, the 1000 steps of this run about 22 hours"),
        (10.0, 1, None),
    ],
)
def test_a_step_is_estimated_from_its_first_forward_pass(
    seconds: float, micro_batches: int, warning: str | None
) -> None:
    """A recipe of weeks should be known before the first step is over."""
    now, lines = [0.0], list[str]()

    class Slow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            now[0] += seconds
            return x

    detector = Slow()
    StepEstimate(detector, micro_batches=micro_batches, steps=1000, say=lines.append, clock=lambda: now[0])
    detector(torch.ones(1))
    assert len(lines) == (warning is not None)
    assert warning is None or warning in lines[0]
    detector(torch.ones(1))
    assert len(lines) == (warning is not None), "once"
