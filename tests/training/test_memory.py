"""Training with masks on images of several sizes holds no more memory after many steps than after some.

By default 60 steps with four sizes are tried, which repeat. oneDNN keeps compiled kernels, for up to 1,024 shapes, so
the memory in use grows with new sizes only, and not with those that were there before. All four sizes, each with one to
four objects, have been there after 16 steps. From step 30, where the first numbers are from, to step 60 only what every
step leaves behind can grow: half a MiB is 17 KiB a step, less than the pixels of most of these images.

CODETR_TEST_THOROUGH=1 takes 2,000 steps with as many sizes, and prints the numbers (`pytest -s`). The kernels of new
sizes make the memory grow then, so the bound is higher.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

import pytest
import torch

from codetr.data.loading.unreadable import BadImage
from codetr.distributed.processes import Processes
from codetr.distributed.signals import StopRequest
from codetr.models.detector import build_detector
from codetr.training.checkpoint_folder import CheckpointFolder
from codetr.training.config import EmaConfig, ScheduleConfig, TrainingConfig
from codetr.training.step import MicroBatch
from codetr.training.trainer import Hooks, Trainer
from tests.support.models.small_models import masked
from tests.support.models.tiny_detector import random_batch
from tests.support.training.memory import MemoryUse, can_be_measured
from tests.support.training.tiny_training import tiny_config

THOROUGH = bool(os.environ.get("CODETR_TEST_THOROUGH"))
WARM_UP, STEPS, EVERY = (200, 2000, 100) if THOROUGH else (15, 60, 15)
SIZES = STEPS if THOROUGH else 4
MIB = 1 << 20
MOST = {"tensor_bytes": MIB // 2, "in_use": 64 * MIB if THOROUGH else MIB // 2}
"""How much each may grow, in bytes."""


class SeveralSizes:
    """Batches of one image with one to four ellipses, each of another size than the one before."""

    images_per_step = 1
    skips_bad_images = False

    def __len__(self) -> int:
        return STEPS

    def epoch(self, epoch: int, start: int = 0) -> Iterator[MicroBatch]:
        sizes = torch.randint(40, 140, (SIZES, 2), generator=torch.Generator().manual_seed(0)).tolist()
        for step in range(start, STEPS):
            height, width = sizes[step % SIZES]
            yield random_batch([1 + step // SIZES % 4], canvas=(height, width), seed=step)

    def take_bad_images(self, before: int) -> list[BadImage]:
        return []


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Waiting threads take the cores of other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(not can_be_measured(), reason="needs glibc and /proc")
def test_memory_does_not_grow_with_the_steps(tmp_path: Path) -> None:
    """1.4 GiB became 3.5 in 300 steps; a run of days would end when the machine has no more."""
    used: list[MemoryUse] = []

    def log(values: Mapping[str, float], step: int) -> None:
        if step > WARM_UP:
            used.append(MemoryUse.now())
            if THOROUGH:
                now = used[-1]
                sizes = [value // MIB for value in (now.tensor_bytes, now.in_use, now.resident)]
                print(f"step {step}: {now.tensors} tensors, {sizes} MiB in tensors, in use, resident", flush=True)

    config = TrainingConfig(
        epochs=1,
        schedule=ScheduleConfig(warmup_iterations=1, milestones=()),
        ema=EmaConfig(),
        validate_every=0,
        log_every=EVERY,
    )
    torch.manual_seed(0)
    detector = build_detector(tiny_config().model_copy(update=masked()))
    checkpoints = CheckpointFolder(tmp_path, keep=1)
    checkpoints.claim({})
    hooks = Hooks(StopRequest(), log)
    Trainer(detector, SeveralSizes(), config, Processes(0, 1, torch.device("cpu")), checkpoints, hooks).run()
    part = len(used) // 3
    first, last = used[:part], used[-part:]
    assert part > 0
    assert median(use.tensors for use in last) <= median(use.tensors for use in first)
    for name, most in MOST.items():
        growth = median(getattr(use, name) for use in last) - median(getattr(use, name) for use in first)
        assert growth < most, name
