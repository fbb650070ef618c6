"""Devices to compute on: their names, which of them this machine has, and which one each process uses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codetr.core.errors import RunFailed, UserError, first_line
from codetr.core.text import counted

if TYPE_CHECKING:
    import torch

DEVICE_NAMES = "auto, cpu, cuda (a GPU of NVIDIA or AMD), cuda:N (the GPU with the index N) or mps (a GPU of Apple)"

_NAME = re.compile(r"auto|(?:cpu|mps)(?::0)?|cuda(?::(?:0|[1-9]\d{0,2}))?")
_FULL = re.compile(r"CU[A-Z]+_STATUS_ALLOC_FAILED|CUDA error: out of memory")
_WHERE = "device"


def device_name(text: str) -> str:
    """Return a device's name unchanged if it is one of `DEVICE_NAMES`; this needs no PyTorch.

    Raises:
        UserError: it is not.
    """
    if _NAME.fullmatch(text) is None:
        raise UserError(f"'{text}' is not the name of a device", where=_WHERE, hint=f"Names: {DEVICE_NAMES}.")
    return text


@dataclass(frozen=True)
class Devices:
    """The devices of this machine that PyTorch can use; there is always a CPU.

    Attributes:
        gpus: number of GPUs with CUDA or ROCm.
        mps: whether there is a GPU of Apple.
    """

    gpus: int = 0
    mps: bool = False

    @classmethod
    def of_machine(cls) -> Devices:
        """Ask PyTorch; CUDA_VISIBLE_DEVICES hides GPUs from it."""
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return cls(gpus, torch.backends.mps.is_available())

    def select(self, name: str, *, process: int = 0, processes: int = 1) -> str:
        """Return the device of one process by its full name: cpu, mps or cuda:N.

        Args:
            name: one of `DEVICE_NAMES`; "auto" is the GPUs with CUDA or ROCm if there are any, else the CPU. With
                several processes "cuda" is one GPU for each.
            process: index of this process on this machine, from 0.
            processes: number of all processes, on all machines.

        Raises:
            UserError: no such name; this machine does not have the device, or not enough of them; or one device is
                named for several processes.
        """
        kind, _, index = device_name(name).partition(":")
        if kind == "auto":
            kind = "cuda" if self.gpus else "cpu"
        if kind == "cpu" or (kind == "mps" and self.mps and processes == 1):
            return kind
        if kind == "mps" and self.mps:
            problem = f"'mps' is one device, and there are {processes} processes"
            raise UserError(problem, where=_WHERE, hint="Start one process, or give cpu.")
        if kind == "mps" or not self.gpus:
            hint = "Give auto or cpu. If there is a GPU, see `nvidia-smi`, CUDA_VISIBLE_DEVICES and PyTorch's build."
            raise UserError(f"there is no '{name}': {self._listed}", where=_WHERE, hint=hint)
        if index and processes > 1:
            problem = f"'{name}' is one GPU, and there are {processes} processes"
            hint = f"Give cuda, and choose the GPUs with CUDA_VISIBLE_DEVICES={index},… if not all are to be used."
            raise UserError(problem, where=_WHERE, hint=hint)
        selected = int(index) if index else process
        if selected >= self.gpus:
            if index:
                raise UserError(f"there is no '{name}': {self._listed}", where=_WHERE, hint="Give one of these.")
            raise UserError(
                f"process {process} of this machine has no GPU: {self._listed}",
                where=_WHERE,
                hint="Start at most as many processes as there are GPUs.",
            )
        return f"cuda:{selected}"

    @property
    def _listed(self) -> str:
        """The GPUs of this machine, as a clause."""
        names = [*(f"cuda:{index}" for index in range(self.gpus)), *(["mps"] if self.mps else [])]
        if not names:
            return "PyTorch sees no GPU on this machine"
        shown = ", ".join(names) if len(names) <= 4 else f"{names[0]} to {names[-1]}"
        return f"this machine has {counted(len(names), 'GPU')}: {shown}"


def select_device(name: str | torch.device, *, process: int | None = None, processes: int = 1) -> torch.device:
    """Return the device of a process, see `Devices.select`, after a first allocation on it.

    Args:
        name: see `Devices.select`; or a device.
        process: index of this process on this machine; None for the GPU that PyTorch uses now.
        processes: number of all processes, on all machines.

    Raises:
        UserError: see `Devices.select`.
        RunFailed: the device is there but cannot be used, e.g. because another program has it for itself.
    """
    import torch

    devices = Devices.of_machine()
    if process is None:
        process = torch.cuda.current_device() if devices.gpus else 0
    device = torch.device(devices.select(str(name), process=process, processes=processes))
    try:
        torch.empty(0, device=device)
    except RuntimeError as error:
        hint = "Wait until it is free, or give another device."
        raise RunFailed(f"'{device}' cannot be used: {first_line(error)}", where=_WHERE, hint=hint) from None
    return device


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error of PyTorch says that the memory of a GPU is full.

    PyTorch's allocator has a special exception for it. Libraries of CUDA allocate in addition to it, and fail with
    a status.
    """
    import torch

    return isinstance(error, torch.OutOfMemoryError) or _FULL.search(str(error)) is not None
