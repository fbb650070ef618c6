"""Start-up of the process group: a store or a process that does not answer ends the run soon."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from codetr.core.errors import RunFailed
from codetr.distributed.processes import join

SHORT = timedelta(seconds=1)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A free port, which the environment names as torchrun's store."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = int(free.getsockname()[1])
    for name, value in {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}.items():
        monkeypatch.setenv(name, str(value))
    return port


def test_a_store_that_is_gone_is_not_waited_for(port: int) -> None:
    """A worker whose torchrun ended as it started would wait, with its memory, as long as validation may take."""
    with pytest.raises(RunFailed, match="the store of torchrun does not answer"):
        join(1, 2, torch.device("cpu"), store_timeout=SHORT)


def test_a_process_that_does_not_start_is_not_waited_for(port: int) -> None:
    """It would hold up the others for an hour."""
    store = dist.TCPStore("localhost", port, is_master=True, wait_for_workers=False)
    with pytest.raises(RunFailed, match="not all of the 2 processes have started within 1 s"):
        join(1, 2, torch.device("cpu"), join_timeout=SHORT)
    assert store.check(["codetr/started/1"])
