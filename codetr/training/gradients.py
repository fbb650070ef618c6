"""Reduce gradients over ranks: their average, bit-identical for any assignment to buckets, and their norm."""

# DistributedDataParallel checks the annotations of a hook, which must not be strings: no `annotations` import.

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.futures import Future
from torch.nn.utils import get_total_norm

from codetr.training.sharded_types import is_sharded_tensor


def mean_in_order_of_ranks(world_size: int, bucket: dist.GradBucket) -> Future[Tensor]:
    """Average a bucket of gradients, adding rank after rank: a communication hook of DistributedDataParallel.

    DDP rebuilds the buckets after the first step of every start. An all-reduce adds the ranks in a different order for
    each part of a bucket, so with three or more ranks a resumed run would differ from an uninterrupted one in the last
    bits.

    Args:
        world_size: number of ranks.
        bucket: this rank's gradients.

    Returns:
        The average over ranks, of the shape of the bucket's buffer.
    """
    parts = [torch.empty_like(bucket.buffer()) for _ in range(world_size)]
    dist.all_gather(parts, bucket.buffer())
    mean: Future[Tensor] = Future()
    mean.set_result(sum(parts[1:], parts[0]) / world_size)
    return mean


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], bound: float | None) -> Tensor:
    """Scale gradients so that their total L2 norm does not exceed a bound.

    Unlike PyTorch's `clip_grad_norm_` it accepts sharded and unsharded gradients together.

    Args:
        parameters: with gradients that are sharded over ranks (DTensors), or equal on all ranks.
        bound: of the norm; None for no bound.

    Returns:
        The norm before clipping, the same on every rank.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    shards = [gradient.to_local() for gradient in gradients if is_sharded_tensor(gradient)]
    unsharded = [gradient for gradient in gradients if not is_sharded_tensor(gradient)]
    norm = get_total_norm(unsharded)
    if shards:
        squares = get_total_norm(shards).square()
        dist.all_reduce(squares)
        norm = (norm.to(squares.device).square() + squares).sqrt()
    if bound is not None:
        torch._foreach_mul_([*unsharded, *shards], (bound / (norm + 1e-6)).clamp(max=1.0))
    return norm
