"""The metrics file: every step once, also in resumed runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codetr.training.reporting.metrics_file import MetricsFile


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_resumed_run_writes_no_step_twice(tmp_path: Path) -> None:
    """Steps after the last checkpoint are repeated; their first rows are removed, also incomplete ones."""
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, 0)
    first.append({"step": 1})
    size = first.sync()
    first.append({"step": 2})
    first.close()
    with path.open("a") as stream:
        stream.write('{"step": 3, "lo')
    second = MetricsFile(path, size)
    second.append({"step": 2})
    second.close()
    assert rows(path) == [{"step": 1}, {"step": 2}]


def test_a_lost_metrics_file_is_a_warning(tmp_path: Path) -> None:
    """The weights are still exact; lost metrics do not stop a run."""
    with pytest.warns(UserWarning, match="earlier metrics are missing"):
        file = MetricsFile(tmp_path / "metrics.jsonl", 100)
    file.append({"step": 5})
    file.close()
    assert rows(tmp_path / "metrics.jsonl") == [{"step": 5}]
