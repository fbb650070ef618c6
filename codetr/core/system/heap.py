"""Give freed memory back to the system.

glibc keeps the memory of freed tensors for later ones. Images of ever other sizes leave holes that the next tensor does
not fit into, so a process grows although it holds no more than before. `malloc_trim` gives the pages of the holes back.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable


def _find_trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none.


_trim = _find_trim()


def release_free_memory() -> None:
    """Give the unused pages of the C heap back to the system; does nothing where the C library cannot."""
    if _trim is not None:
        _trim(0)
