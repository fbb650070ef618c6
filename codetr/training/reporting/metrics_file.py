"""`metrics.jsonl`: the metrics of a run over time, one JSON object per line, each step exactly once."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

METRICS = "metrics.jsonl"
"""Name of the file in the folder of checkpoints and in the published model."""

Row = Mapping[str, float | int | None]


class MetricsFile:
    """Appends rows; a resumed run first removes the rows that were written after its last checkpoint.

    Rows hold nothing that differs between equal runs (no time, no throughput).
    """

    def __init__(self, path: Path, size: int) -> None:
        """Open the file and cut it to `size` bytes: its size at the last checkpoint, 0 for a new run."""
        path.touch()
        if path.stat().st_size < size:
            warnings.warn(f"{path} is shorter than at the last checkpoint; earlier metrics are missing", stacklevel=2)
        else:
            os.truncate(path, size)
        self._stream = path.open("a", encoding="utf-8")

    def append(self, row: Row) -> None:
        """Add one row."""
        self._stream.write(json.dumps(row, allow_nan=False) + "\n")
        self._stream.flush()

    def sync(self) -> int:
        """Flush everything to the disk, and return the size in bytes."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return os.fstat(self._stream.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
