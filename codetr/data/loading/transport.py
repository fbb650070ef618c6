"""Hand batches from a loader process to the process that computes, without /dev/shm.

PyTorch moves every tensor of a batch into a file of /dev/shm of its own, in a thread of the loader process. Docker
limits that file system to 64 MiB by default, every file needs a descriptor, and when either runs out the thread drops
the batch, for which the other process then waits for ever. Here the tensors of a batch share one anonymous file
(`memfd_create`), which has no limit but the machine's memory. Where there are no such files, or no descriptor is left,
the batch goes through the pipe as bytes, which takes longer. Both happen where an error reaches the other process.
"""

from __future__ import annotations

import errno
import io
import logging
import mmap
import os
import pickle
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from multiprocessing.reduction import DupFd
from typing import Any, Protocol, TypeVar, cast

import torch

from codetr.core.errors import RunFailed, first_line
from codetr.core.system.os_errors import DESCRIPTORS_HINT, loading_error

logger = logging.getLogger(__name__)

ALIGNMENT = 64
"""Bytes to which tensors are aligned in a block, as PyTorch's allocator aligns them."""


T = TypeVar("T")


class _SharedDescriptor(Protocol):
    def detach(self) -> int:
        """Return the descriptor, in the process that calls this; possible once."""


@dataclass(frozen=True)
class Packed:
    """A value whose tensors lie in one block of memory.

    Attributes:
        header: the pickled value without the content of its tensors.
        sizes: bytes of every tensor, in order; they are aligned to `ALIGNMENT` in the block.
        block: the memory, or a descriptor of it that another process may take.
    """

    header: bytes
    sizes: tuple[int, ...]
    block: bytearray | _SharedDescriptor

    def unpack(self) -> Any:
        """Return the value; its tensors use the block's memory, which is freed with the last of them.

        Raises:
            UserError: no descriptor is left.
            RunFailed: the process that packed it has ended.
        """
        offsets = _offsets(self.sizes)
        block = self.block if isinstance(self.block, bytearray) else _mapped(self.block, offsets[-1])
        view = memoryview(block)
        buffers = [view[start : start + size] for start, size in zip(offsets, self.sizes, strict=False)]
        return pickle.loads(self.header, buffers=buffers)


class _Pickler(pickle.Pickler):
    """Pickles the content of tensors out of band."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return torch.from_numpy, (value.contiguous().numpy(),)
        return NotImplemented


def pack(value: Any) -> Packed:
    """Pack a value with its tensors, which lie on the CPU and need no gradient."""
    stream = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(value)
    contents = [buffer.raw() for buffer in buffers]
    sizes = tuple(content.nbytes for content in contents)
    return Packed(stream.getvalue(), sizes, _share(contents, _offsets(sizes)))


def _offsets(sizes: Sequence[int]) -> list[int]:
    """Return where every tensor begins, and the size of the whole block."""
    return list(accumulate((-(-size // ALIGNMENT) * ALIGNMENT for size in sizes), initial=0))


def _share(contents: Sequence[memoryview], offsets: Sequence[int]) -> bytearray | _SharedDescriptor:
    try:
        descriptor = os.memfd_create("codetr-batch")
        try:
            with open(descriptor, "wb", closefd=False) as file:
                for content, offset in zip(contents, offsets, strict=False):
                    file.seek(offset)
                    file.write(content)
            os.ftruncate(descriptor, max(offsets[-1], 1))
            return cast(_SharedDescriptor, DupFd(descriptor))
        finally:
            os.close(descriptor)
    except (AttributeError, OSError) as error:  # Only Linux has memfd_create.
        _warn_once(error)
    block = bytearray(offsets[-1])
    for content, offset in zip(contents, offsets, strict=False):
        block[offset : offset + content.nbytes] = content
    return block


_warned = threading.Event()


def _warn_once(error: Exception) -> None:
    if isinstance(error, OSError) and not _warned.is_set():
        _warned.set()
        hint = f" {DESCRIPTORS_HINT}" if error.errno in (errno.EMFILE, errno.ENFILE) else ""
        logger.warning("batches are copied through a pipe, which is slower: %s.%s", error.strerror, hint)


def _mapped(shared: _SharedDescriptor, size: int) -> mmap.mmap:
    descriptor = _receive(shared.detach)
    try:
        return _receive(lambda: mmap.mmap(descriptor, max(size, 1)))
    finally:
        os.close(descriptor)


def _receive(take: Callable[[], T]) -> T:
    try:
        return take()
    except (ConnectionError, EOFError, FileNotFoundError) as error:
        hint = "Start the command again; training resumes from its checkpoint."
        raise RunFailed(f"a process that loads images has ended ({first_line(error)})", hint=hint) from None
    except OSError as error:
        raise loading_error(error, "receiving a batch of images") from None
