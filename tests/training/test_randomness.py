"""Seeds derived from the position in training."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from codetr.distributed.processes import processes
from codetr.training.randomness import derive_seed, preserved_globals, seed_all


def draws() -> tuple[Any, ...]:
    return random.random(), float(np.random.rand()), torch.rand(3).tolist()


def draws_again() -> tuple[Any, ...]:
    """Return what is drawn next, and leave the generators as they are."""
    with torch.random.fork_rng([]):
        python, numpy = random.getstate(), np.random.get_state()
        drawn = draws()
        random.setstate(python)
        np.random.set_state(numpy)
    return drawn


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


def test_a_step_on_the_cpu_starts_no_gpu_and_restores_the_random_states() -> None:
    """The context of each GPU takes hundreds of megabytes, also of GPUs that other programs use."""
    before, started = draws_again(), torch.cuda.is_initialized()
    with preserved_globals(torch.device("cpu")):
        seed_all(7)
        draws()
    assert draws_again() == before
    assert torch.cuda.is_initialized() == started


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_random_state_of_the_gpu_and_the_current_one_are_restored() -> None:
    """The rest of a notebook would continue on another GPU, with other random numbers."""
    device = torch.device("cuda", torch.cuda.device_count() - 1)
    current, state = torch.cuda.current_device(), torch.cuda.get_rng_state(device)
    with preserved_globals(device), processes(str(device)) as group:
        assert torch.cuda.current_device() == group.device.index
        seed_all(7)
        torch.rand(3, device=device)
    assert torch.cuda.current_device() == current
    assert torch.equal(torch.cuda.get_rng_state(device), state)
