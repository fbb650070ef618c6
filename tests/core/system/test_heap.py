"""Memory that tensors of many sizes leave behind is given back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import ROOT

GROW = """
from pathlib import Path
import random
from codetr.core.system.heap import release_free_memory

def resident():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) >> 10

random.seed(0)
before = resident()
live = [bytearray(random.randrange(30_000, 120_000)) for _ in range(3000)]
live = live[::50]  # Holes everywhere; 60 of 3000 are left
grown = resident() - before
release_free_memory()
print(grown, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has malloc_trim")
def test_holes_between_what_is_left_are_given_back() -> None:
    """A training process grew by a GiB in a hundred steps of images of ever other sizes."""
    done = subprocess.run([sys.executable, "-c", GROW], cwd=ROOT, capture_output=True, text=True, check=True)
    grown, left = map(int, done.stdout.split())
    assert grown > 100, "MiB; otherwise the test shows nothing"
    assert left < 30
