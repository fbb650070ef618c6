"""What loader processes need is checked before they start."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

import pytest

from codetr.core.errors import UserError
from codetr.data.loading.preflight import require_resources


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("few_descriptors")
def test_too_few_descriptors_are_refused_with_the_numbers() -> None:
    """Otherwise an epoch is over when the processes of the validation cannot start."""
    require_resources(1)
    with pytest.raises(UserError, match=r"ulimit -n: this process may open \d+ files.* 4 processes .*loader\.workers"):
        require_resources(4)
    with pytest.raises(UserError, match="ulimit -n"):
        require_resources(2, loaders=2)
    require_resources(0, loaders=2)


def test_shared_memory_that_is_full_is_refused() -> None:
    """PyTorch would leave half a loader behind, and print tracebacks of it."""
    require_resources(4, shared_memory=1 << 20)
    with pytest.raises(UserError, match=r"/dev/shm: 4 KiB of shared memory are free.*--shm-size"):
        require_resources(4, shared_memory=1 << 12)
