"""How much memory this process holds: tensors, what the C library has given out, and resident pages."""

from __future__ import annotations

import ctypes
import gc
from dataclasses import dataclass
from pathlib import Path

import torch


class _MallInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33 and later; see mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


@dataclass(frozen=True)
class MemoryUse:
    """What this process holds.

    Attributes:
        tensors: how many tensors Python code can reach.
        tensor_bytes: of their storages.
        in_use: bytes that were asked for with malloc and not freed.
        resident: bytes of anonymous pages in memory, used or not.
    """

    tensors: int
    tensor_bytes: int
    in_use: int
    resident: int

    @classmethod
    def now(cls) -> MemoryUse:
        """Measure it, after a garbage collection."""
        gc.collect()
        found = [value for value in gc.get_objects() if type(value) in (torch.Tensor, torch.nn.Parameter)]
        # Sparse ones, e.g. of other tests, have no storage.
        tensors = [value for value in found if value.layout is torch.strided]
        storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in tensors}
        info = _mallinfo2()()
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return cls(
            tensors=len(tensors),
            tensor_bytes=sum(storages.values()),
            in_use=info.uordblks + info.hblkhd,
            resident=int(status["RssAnon"].split()[0]) << 10,
        )


def can_be_measured() -> bool:
    """Return whether the C library and the system tell these numbers."""
    return hasattr(ctypes.CDLL(None), "mallinfo2") and Path("/proc/self/status").exists()


def _mallinfo2() -> ctypes._NamedFuncPointer:
    function = ctypes.CDLL(None).mallinfo2
    function.restype = _MallInfo
    return function
