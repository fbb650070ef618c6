"""Gradients over ranks: their average, with the same bits however they are packed for the exchange, and their norm."""

# DistributedDataParallel looks at the annotations of a hook: here they must not become strings.

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.futures import Future
from torch.nn.utils import get_total_norm


def mean_in_order_of_ranks(world_size: int, bucket: dist.GradBucket) -> Future[Tensor]:
    """Average a bucket of gradients, adding rank after rank: a communication hook of DistributedDataParallel.

    The parameters are sorted into buckets anew after the first step of every start. An all-reduce adds the ranks of
    each part of a bucket in another order, so with three or more ranks a resumed run would differ from an
    uninterrupted one in the last bits.

    Args:
        world_size: number of ranks.
        bucket: this rank's gradients.

    Returns:
        the average over ranks, of the shape of the bucket's buffer.
    """
    parts = [torch.empty_like(bucket.buffer()) for _ in range(world_size)]
    dist.all_gather(parts, bucket.buffer())
    mean: Future[Tensor] = Future()
    mean.set_result(sum(parts[1:], parts[0]) / world_size)
    return mean


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], bound: float | None) -> Tensor:
    """Scale gradients so that the L2 norm of all of them together does not exceed a bound.

    It is PyTorch's `clip_grad_norm_`, which does not take sharded gradients and whole ones together.

    Args:
        parameters: with gradients that are sharded over ranks (DTensors), or equal on all ranks.
        bound: of the norm; None for no bound.

    Returns:
        the norm before, the same on every rank.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    shards = [gradient.to_local() for gradient in gradients if isinstance(gradient, DTensor)]
    wholes = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    norm = get_total_norm(wholes)
    if shards:
        squares = get_total_norm(shards).square()
        dist.all_reduce(squares)
        norm = (norm.to(squares.device).square() + squares).sqrt()
    if bound is not None:
        torch._foreach_mul_([*wholes, *shards], (bound / (norm + 1e-6)).clamp(max=1.0))
    return norm
