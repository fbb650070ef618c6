"""Loss normalisers over the whole effective batch: all ranks, all accumulated micro-batches.

Most of Co-DETR's losses are divided by a count (positives, sampled boxes) that is averaged over ranks.
Under gradient accumulation each micro-batch would divide by its own count, and the summed gradient would
not be that of the large batch. So the heads ask a `Normalizer` for every divisor, and the trainer chooses:

* `Normalizer()` averages the count over ranks, as the official implementation does;
* for accumulation, the trainer runs the losses once per micro-batch with a `RecordingNormalizer`, adds up
  what each divisor's micro-batches counted (`effective_counts`), then runs them again with a
  `ReplayNormalizer`. The losses ask in the same order every time, whatever is in the images.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


class Normalizer:
    """Divisors from the counts of this batch alone, averaged over ranks."""

    def __call__(self, count: Tensor | float, device: torch.device, minimum: float = 1.0) -> Tensor:
        """The divisor for a loss summed over `count` items.

        Args:
            count: number of items on this rank (a scalar).
            device: where the divisor is needed.
            minimum: lower bound of the divisor, applied after averaging.
        """
        return self._average(torch.as_tensor(count, dtype=torch.float32, device=device)).clamp(min=minimum)

    def _average(self, count: Tensor) -> Tensor:
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return count
        total = count.detach().clone()
        dist.all_reduce(total)
        return total / dist.get_world_size()


class RecordingNormalizer(Normalizer):
    """Behaves as `Normalizer` without communication and keeps the counts it was asked about, in order."""

    def __init__(self) -> None:
        self.counts: list[Tensor] = []

    def _average(self, count: Tensor) -> Tensor:
        self.counts.append(count.detach())
        return count


class ReplayNormalizer(Normalizer):
    """Divides as the large batch would, in the micro-batches it was cut into.

    With K micro-batches, each loss is later divided by K. So that the sum comes out as the loss of the large
    batch, each divisor is that of the large batch divided by K, and the lower bound too.
    """

    def __init__(self, counts: Tensor, micro_batches: int) -> None:
        """Args: (divisors,) counts of the whole effective batch in the order they are asked for; K."""
        self._counts = iter(counts)
        self._micro_batches = micro_batches

    def __call__(self, count: Tensor | float, device: torch.device, minimum: float = 1.0) -> Tensor:
        """The divisor for the next count of the effective batch; this micro-batch's own `count` is not looked at."""
        return next(self._counts).to(device).clamp(min=minimum) / self._micro_batches


def effective_counts(records: list[RecordingNormalizer]) -> Tensor:
    """(divisors,) counts of an effective batch: summed over micro-batches, averaged over ranks."""
    counts = torch.stack([torch.stack(record.counts) for record in records]).sum(dim=0)
    return Normalizer()._average(counts)
