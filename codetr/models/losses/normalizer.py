"""Divisors of losses over the whole effective batch: all ranks and all accumulated micro-batches.

Most losses of Co-DETR are divided by a count (positives, sampled boxes) that is averaged over ranks. Under gradient
accumulation every micro-batch would divide by its count, and the summed gradient would differ from that of the large
batch. So heads ask a `Normalizer` for every divisor, and the trainer chooses which one:

* `Normalizer()` averages the count over ranks, as the official implementation does;
* for accumulation, the trainer computes the losses of every micro-batch with a `RecordingNormalizer`, adds up the
  counts of every divisor (`effective_counts`), then computes the losses again with a `ReplayNormalizer`. Losses ask for
  their divisors in the same order for any images.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


class Normalizer:
    """Divisors from the counts of one batch, averaged over ranks."""

    def __call__(self, count: Tensor | float, device: torch.device, minimum: float = 1.0) -> Tensor:
        """Return the divisor, a scalar, of a loss summed over `count` items.

        Args:
            count: number of items on this rank (a scalar).
            device: device of the divisor.
            minimum: lower bound of the divisor, applied after averaging.
        """
        return self._average(torch.as_tensor(count, dtype=torch.float32, device=device)).clamp(min=minimum)

    def _average(self, count: Tensor) -> Tensor:
        return average_over_ranks(count)


class RecordingNormalizer(Normalizer):
    """Record counts in the order in which divisors are asked for; no communication."""

    def __init__(self) -> None:
        self.counts: list[Tensor] = []

    def _average(self, count: Tensor) -> Tensor:
        self.counts.append(count.detach())
        return count


class ReplayNormalizer(Normalizer):
    """Divide in micro-batches as the effective batch would.

    With K micro-batches, every loss is later divided by K. So that the sum equals the loss of the effective batch,
    every divisor is that of the effective batch divided by K, and so is its lower bound.

    Args:
        counts: (divisors,) counts of the effective batch, in the order in which divisors are asked for.
        micro_batches: K.
    """

    def __init__(self, counts: Tensor, micro_batches: int) -> None:
        self._counts = iter(counts)
        self._micro_batches = micro_batches

    def __call__(self, count: Tensor | float, device: torch.device, minimum: float = 1.0) -> Tensor:
        """Return the next divisor of the effective batch; `count`, that of this micro-batch, is ignored."""
        divisor: Tensor = next(self._counts).to(device).clamp(min=minimum) / self._micro_batches
        return divisor


def average_over_ranks(count: Tensor) -> Tensor:
    """Return a count averaged over all ranks of the default process group, or as it is without one."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return count
    total = count.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def effective_counts(records: list[RecordingNormalizer]) -> Tensor:
    """Return the counts (divisors,) of an effective batch: summed over micro-batches, averaged over ranks."""
    counts = torch.stack([torch.stack(record.counts) for record in records]).sum(dim=0)
    return average_over_ranks(counts)
