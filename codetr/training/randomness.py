"""Random states as a function of the position in training.

Every draw of a training step comes from generators that are seeded for that step. So no state is carried from step to
step: a resumed run draws what an uninterrupted one draws, whatever happened in between (validation, logging, a
restarted worker), and a micro-batch can be run twice with the same draws.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*parts: int | str) -> int:
    """Derive a seed in [0, 2^63) from numbers and strings; different parts give unrelated seeds."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_all(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch (CPU and every GPU)."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.manual_seed(seed)


def make_deterministic(*, threads: int, deterministic: bool) -> None:
    """Fix what the last bits of a sum depend on: the number of CPU threads and the choice of kernels.

    Kernels without a deterministic variant remain in use; PyTorch names them in a warning.
    """
    torch.set_num_threads(threads)
    # cuBLAS needs it for equal results on several streams, and reads it when CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    # Filling new tensors with NaN is for finding uninitialised reads; equal results do not need it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def preserved_globals(device: torch.device) -> Iterator[None]:
    """Restore after the block what steps change for a whole process: threads, choice of kernels, random states.

    Args:
        device: what the steps compute on; other GPUs, which this process need not use, are not started.
    """
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]
        random.setstate(python)
        np.random.set_state(numpy)
