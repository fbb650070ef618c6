"""Bound the memory of decoded images: the largest one, and all that threads decode at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from codetr.core.system.heap import release_free_memory

_LARGE = 1 << 24
"""Pixels of an image whose memory is returned to the operating system at once."""

_lock = threading.Lock()
_limits: list[int] = []
_original: list[int | None] = []


@contextmanager
def pillow_limit(pixels: int) -> Iterator[None]:
    """Let Pillow read images of so many pixels without a warning, and restore its limit, which is global, at the end.

    Threads may overlap: the highest limit holds, and the last one restores the original.
    """
    with _lock:
        if not _limits:
            _original[:] = [Image.MAX_IMAGE_PIXELS]
        _limits.append(pixels)
        _apply()
    try:
        yield
    finally:
        with _lock:
            _limits.remove(pixels)
            _apply()


def _apply() -> None:
    Image.MAX_IMAGE_PIXELS = None if _original[0] is None else max([_original[0], *_limits])


class PixelBudget:
    """Bound the pixels that threads have in memory at a time.

    Args:
        pixels: in total. A larger image is decoded alone.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels, self._free = pixels, pixels
        self._released = threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Wait until so many pixels are free, and hold them as long as the context lasts."""
        pixels = min(pixels, self._pixels)
        with self._released:
            self._released.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            if pixels > _LARGE:
                release_free_memory()  # glibc keeps hundreds of megabytes for every thread that decoded one
            with self._released:
                self._free += pixels
                self._released.notify_all()
