"""One process or many under torchrun: the process group, the device, and communication between ranks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from codetr.core.errors import ReportedError, RunFailed, UserError
from codetr.core.hang_timeout import HANG_TIMEOUT_VARIABLE, hang_timeout
from codetr.core.system.os_errors import reported_os_error
from codetr.distributed.devices import select_device

T = TypeVar("T")

_TIMED_OUT = re.compile(r"timed? ?out", re.IGNORECASE)

STORE_TIMEOUT = timedelta(minutes=1)
"""How long a process tries to reach torchrun's store. torchrun makes the store before it starts processes."""

JOIN_TIMEOUT = timedelta(minutes=5)
"""How long processes wait for one another to start. torchrun starts them together, and each imports PyTorch first."""

LEAVE_TIMEOUT = timedelta(seconds=30)
"""How long a process that has finished waits for the others to do so."""

_TRACES = ("TORCH_FR_DUMP_TEMP_FILE", "TORCH_NCCL_DEBUG_INFO_TEMP_FILE")
"""Variables of PyTorch, of today and of before: the file, but for the rank, that NCCL's flight recorder writes."""


@dataclass(frozen=True)
class Processes:
    """This process and the others of the run.

    Attributes:
        rank: 0..world_size-1 over all machines.
        world_size: processes of the run.
        device: the device this process computes on.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Return whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Return the elementwise mean over ranks; the same bits on every rank."""
        if self.world_size == 1:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values / self.world_size

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks, by rank, on every rank. Slow; for small values and rare events."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def broadcast(self, value: T) -> T:
        """Return the value of rank 0 on every rank. Slow; for small values and rare events."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def barrier(self) -> None:
        """Wait until every rank has called this."""
        if self.world_size > 1:
            dist.barrier()

    def on_main(self, work: Callable[[], T]) -> T:
        """Call `work` on rank 0 while the others wait, and return its result on every rank.

        Raises:
            ReportedError: on rank 0, what `work` raised, also if that was an error of the operating system. The other
                processes end with the same exit code and print nothing, so that the message appears once.
        """
        result: T | None = None
        error: ReportedError | None = None
        if self.is_main:
            try:
                result = work()
            except ReportedError as caught:
                error = caught
            except OSError as caught:
                if (error := reported_os_error(caught)) is None:
                    raise
        code, result = self.broadcast((error.exit_code if error else None, result))
        if code is not None:
            raise error if error else SystemExit(code)
        return cast(T, result)

    def main_first(self, work: Callable[[], T]) -> T:
        """Call `work` on rank 0 first and then on the others, which find what it downloaded.

        Returns:
            The result of rank 0.

        Raises:
            ReportedError: see `on_main`.
        """
        value = self.on_main(work)
        if not self.is_main:
            work()
        return value


def environment_int(name: str, default: int) -> int:
    """Return an integer from an environment variable that torchrun sets.

    Raises:
        UserError: the variable is no integer.
    """
    text = os.environ.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise UserError(f"is '{text}', not a number", where=f"environment variable {name}") from None


def join(
    rank: int,
    world_size: int,
    device: torch.device,
    *,
    store_timeout: timedelta = STORE_TIMEOUT,
    join_timeout: timedelta = JOIN_TIMEOUT,
) -> dist.Store:
    """Create the default process group (NCCL on GPUs, gloo on CPUs) of all processes that torchrun started.

    PyTorch has one timeout for creating the group and for every collective after it, which has to cover validation on
    rank 0 (`codetr.core.hang_timeout`). So that no process waits that long for others to start, all of them meet at
    torchrun's store first.

    Returns:
        The store of torchrun.

    Raises:
        RunFailed: the store, or another process, did not answer in time.
    """
    hint = "Did torchrun end? Else check that every machine reaches the address in MASTER_ADDR and MASTER_PORT."
    try:
        store, *_ = next(rendezvous("env://", rank, world_size, timeout=store_timeout))
    except dist.DistError:
        raise RunFailed("the store of torchrun does not answer", hint=hint) from None
    store.set_timeout(join_timeout)
    store.set(f"codetr/started/{rank}", "")
    try:
        store.wait([f"codetr/started/{other}" for other in range(world_size)])
    except dist.DistError:
        waited = f"{join_timeout.total_seconds():.0f} s"
        raise RunFailed(f"not all of the {world_size} processes have started within {waited}", hint=hint) from None
    on_gpu = device.type == "cuda"
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=store,
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=hang_timeout()),
        device_id=device if on_gpu else None,
    )
    return store


def selected_device(name: str = "auto") -> torch.device:
    """Return the device of this process, which torchrun may have started.

    Args:
        name: what to compute on, see `codetr.distributed.devices`; the same for all processes.

    Raises:
        UserError, RunFailed: see `select_device`.
    """
    local_rank, world_size = environment_int("LOCAL_RANK", 0), environment_int("WORLD_SIZE", 1)
    return select_device(name, process=local_rank, processes=world_size)


@contextmanager
def processes(device: str = "auto", *, traces: Path | None = None) -> Iterator[Processes]:
    """Join the process group of the processes that torchrun started, and leave it after the block.

    Without torchrun this is one process without a process group. Inside the block its GPU is the current one of
    PyTorch.

    Args:
        device: what to compute on, see `codetr.distributed.devices`; the same for all processes.
        traces: folder in which NCCL writes what each process was doing when one of them hangs; None for none.

    Raises:
        UserError: this machine does not have the device, or fewer GPUs than processes.
        RunFailed: not all processes have started in time, or one has ended, or hung, while this one was waiting for it.
    """
    rank, world_size = environment_int("RANK", 0), environment_int("WORLD_SIZE", 1)
    selected = selected_device(device)
    if traces is not None and world_size > 1 and selected.type == "cuda":
        traces.mkdir(parents=True, exist_ok=True)
        for name in _TRACES:
            os.environ.setdefault(name, str(traces / "rank-"))
    with torch.cuda.device(selected) if selected.type == "cuda" else nullcontext(), _joined(rank, world_size, selected):
        yield Processes(rank, world_size, selected)


@contextmanager
def _joined(rank: int, world_size: int, device: torch.device) -> Iterator[None]:
    if world_size == 1:
        yield
        return
    store = join(rank, world_size, device)
    try:
        yield
        _wait_for_others(store, rank, world_size)
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        if _TIMED_OUT.search(str(error)):
            waited = f"{hang_timeout()} s"
            hint = f"A process or a machine of this run hangs. {HANG_TIMEOUT_VARIABLE} sets the time, in seconds."
            raise RunFailed(f"an exchange between processes timed out after {waited}", hint=hint) from None
        hint = "Its message says why, unless it was killed. Start the run again to resume from its checkpoint."
        raise RunFailed("another process of this run has ended", hint=hint) from None
    finally:
        dist.destroy_process_group()


def _wait_for_others(store: dist.Store, rank: int, world_size: int) -> None:
    """Wait until every process has ended its last collective, so that none closes the connections of another one.

    The store is that of the launcher, or of one of the processes, which may be gone when all have said so.
    """
    with suppress(RuntimeError):
        store.set_timeout(LEAVE_TIMEOUT)
        store.set(f"codetr/ended/{rank}", "")
        store.wait([f"codetr/ended/{other}" for other in range(world_size)])
