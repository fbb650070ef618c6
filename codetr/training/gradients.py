"""The average of gradients over ranks, with the same bits however they are packed for the exchange."""

# DistributedDataParallel looks at the annotations of a hook: here they must not become strings.

import torch
import torch.distributed as dist
from torch import Tensor
from torch.futures import Future


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
