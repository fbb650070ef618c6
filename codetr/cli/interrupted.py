"""What a command says when Ctrl-C ends it before its work has begun."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruption_reported(work: str) -> Iterator[None]:
    """Say that Ctrl-C came before `work` began; once it handles signals, it says more itself.

    Importing PyTorch takes seconds, in which nothing else is printed.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"stopped before {work} began; nothing has changed", file=sys.stderr)
        raise
