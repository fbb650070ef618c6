"""Seeds derived from the position in training."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from codetr.training.randomness import derive_seed, seed_all


def draws() -> tuple[Any, ...]:
    return random.random(), float(np.random.rand()), torch.rand(3).tolist()


def test_a_position_decides_all_draws_whatever_was_drawn_before() -> None:
    """Resume would not be exact if a draw depended on the draws of earlier steps."""
    seed_all(derive_seed(0, "step", 7, 0, 1))
    expected = draws()
    draws()
    seed_all(derive_seed(0, "step", 7, 0, 1))
    assert draws() == expected


def test_steps_micro_batches_ranks_and_runs_draw_differently() -> None:
    """Ranks with equal draws would sample the same anchors; steps with equal draws, the same noise."""
    seeds = {
        derive_seed(run, "step", s, m, r) for run in range(3) for s in range(20) for m in range(3) for r in range(4)
    }
    assert len(seeds) == 3 * 20 * 3 * 4
    assert len({seed & 0xFFFFFFFF for seed in seeds}) == len(seeds), "NumPy takes the lower 32 bits"
