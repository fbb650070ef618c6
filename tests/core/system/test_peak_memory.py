"""The peak of memory counts what was held, also if it is free again."""

from __future__ import annotations

import sys

import pytest

from codetr.core.system.peak_memory import peak_memory, reset_peak_memory

SIZE = 1 << 27


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is that of the whole process")
def test_the_peak_counts_from_the_last_reset() -> None:
    """Otherwise every row of a benchmark has the memory of the largest one before."""
    reset_peak_memory()
    before = peak_memory()
    block = bytearray(SIZE)
    block[::4096] = b"x" * len(range(0, SIZE, 4096))
    del block
    assert peak_memory() > before + SIZE // 2
    reset_peak_memory()
    assert peak_memory() < before + SIZE // 2
