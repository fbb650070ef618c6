"""Batches that cross from a loader process: bit by bit, and without the resources that containers are short of."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codetr.core.errors import RunFailed, UserError
from codetr.data.loading.transport import pack

DTYPES = [torch.float32, torch.int64, torch.bool, torch.uint8]
tensors = st.builds(
    lambda shape, dtype, seed: torch.from_numpy(np.random.default_rng(seed).integers(0, 2, shape)).to(dtype),
    st.lists(st.integers(0, 5), max_size=4),
    st.sampled_from(DTYPES),
    st.integers(0, 9),
)
values = st.recursive(tensors | st.none() | st.text(max_size=3), lambda v: st.lists(v, max_size=4), max_leaves=12)


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Let this process open only so many more files inside the block."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    listed = os.listdir("/proc/self/fd")  # With the descriptor of the listing, which is closed by now.
    used = {int(name) for name in listed if os.path.exists(f"/proc/self/fd/{name}")}
    free = (number for number in range(limits[0]) if number not in used)  # The limit is on numbers, which have gaps.
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(islice(free, count, None)), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@settings(max_examples=40, deadline=None)
@given(value=values, left=st.sampled_from([0, 100]))
def test_a_batch_arrives_as_it_was_sent(value: Any, left: int) -> None:
    """Through shared memory and, where no descriptor is left, as bytes: training must not depend on the way."""
    with descriptors_left(left):
        packed = pack(value)
    assert isinstance(packed.block, bytearray) == (left == 0)
    assert equal(pickle.loads(pickle.dumps(packed)).unpack(), value)


def test_tensors_of_a_batch_can_be_changed_and_outlive_it() -> None:
    """They are moved and normalised in the training process."""
    arrived = pack([torch.ones(3), torch.zeros(2, 2).T]).unpack()
    arrived[0] += 1
    assert arrived[0].tolist() == [2, 2, 2]
    assert arrived[1].shape == (2, 2)


def test_a_batch_takes_one_descriptor_whatever_it_holds() -> None:
    """One for each of its tensors exceeds `ulimit -n` with a few batches of many images."""

    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    pack([torch.ones(3)]).unpack()  # Starts what the first one needs.
    before = count()
    packed = [pack([torch.ones(3) for _ in range(50)]) for _ in range(4)]
    assert count() - before == 4
    arrived = [one.unpack() for one in packed]
    assert count() - before == 4
    del arrived
    assert count() == before


def test_no_descriptor_for_a_batch_is_an_error_that_says_what_to_do() -> None:
    """PyTorch loses the batch and waits for it for ever."""
    packed = pack([torch.ones(3)])
    with descriptors_left(0), pytest.raises(UserError, match=r"receiving a batch.*ulimit -n"):
        packed.unpack()


class Gone:
    """What a process that has ended leaves of a descriptor."""

    def detach(self) -> int:
        socket.create_connection(("127.0.0.1", 1)).close()
        raise OSError(errno.ECONNREFUSED, "somebody listens there")


def test_the_end_of_the_process_that_packed_is_a_failure_that_a_retry_avoids() -> None:
    packed = pack([torch.ones(3)])
    with pytest.raises(RunFailed, match="has ended"):
        type(packed)(packed.header, packed.sizes, Gone()).unpack()
