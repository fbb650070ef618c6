"""A file system that fails at the n-th write: opening for writing, making, renaming, linking or flushing."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_CALLS = ("mkdir", "rename", "replace", "link", "symlink", "fsync", "ftruncate")


class FailingFiles:
    """Counts the writes below a folder, and lets those from number `first` on fail.

    Attributes:
        writes: how many there were.
        failed: how many failed.
    """

    def __init__(self, root: Path, first: int, number: int) -> None:
        self.root, self.first, self.number = str(root), first, number
        self.writes = self.failed = 0

    def write(self, name: Any) -> None:
        """Count a write, and raise if it is one that fails."""
        text = os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else None
        # A descriptor is one of a file that was opened here.
        if text is not None and not os.path.abspath(text).startswith(self.root):
            return
        self.writes += 1
        if self.writes > self.first:
            self.failed += 1
            raise OSError(self.number, os.strerror(self.number), text)


@contextmanager
def failing_files(root: Path, first: int, number: int = errno.ENOSPC) -> Iterator[FailingFiles]:
    """Let all writes below `root` from number `first` on fail, as on a disk that is full and stays so."""
    files = FailingFiles(root, first, number)
    real_open, real_os_open = io.open, os.open

    def open_stream(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if set(mode) & set("wxa+"):
            files.write(file)
        return real_open(file, mode, *arguments, **named)

    def open_descriptor(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            files.write(path)
        return real_os_open(path, flags, *arguments, **named)

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(first: Any, *arguments: Any, **named: Any) -> Any:
            files.write(first)
            return call(first, *arguments, **named)

        return wrapper

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", open_stream)
        patch.setattr(builtins, "open", open_stream)
        patch.setattr(os, "open", open_descriptor)
        for name in _CALLS:
            patch.setattr(os, name, counted(getattr(os, name)))
        yield files
