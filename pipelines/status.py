"""Say how runs on a server are: their states, their tasks, and why a task failed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from codetr.core.durations import describe_duration
from pipelines.kfp_server import Run


def describe_run(run: Run, endpoint: str, *, now: datetime | None = None) -> dict[str, Any]:
    """Return the state of a run as JSON: itself, its tasks in the order of their beginning, and where to look at it.

    Args:
        run: as the server shows it.
        endpoint: the address of the server.
        now: the time; None for that of the clock.
    """
    now = now or datetime.now(UTC)
    tasks = sorted(run.tasks, key=lambda task: (task.start_time is None, str(task.start_time or "")))
    return {
        "run": run.display_name,
        "id": run.run_id,
        "state": run.state or "PENDING",
        "seconds": _seconds(run.created_at, run.finished_at, now),
        "page": f"{endpoint}/#/runs/details/{run.run_id}",
        "tasks": [
            {
                "task": task.display_name,
                "state": task.state or "PENDING",
                "seconds": _seconds(task.start_time, task.end_time, now),
                "reason": (task.error.message if task.error else None) or "",
            }
            for task in tasks
        ],
    }


def task_rows(description: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, state, duration and reason of the tasks that `describe_run` lists."""
    for task in description["tasks"]:
        yield str(task["task"]), task["state"], duration(task["seconds"]), task["reason"]


def run_row(run: Run, *, now: datetime | None = None) -> tuple[str, str, str, str]:
    """Return name, id, state and duration of a run."""
    seconds = _seconds(run.created_at, run.finished_at, now or datetime.now(UTC))
    return run.display_name or "", run.run_id, run.state or "PENDING", duration(seconds)


def duration(seconds: float | None) -> str:
    """Return a duration for people; "" if it is not known."""
    return "" if seconds is None else describe_duration(seconds)


def _seconds(begin: datetime | None, end: datetime | None, now: datetime) -> float | None:
    if begin is None:
        return None
    # The server writes 1970 for what has not ended.
    until = now if end is None or end < begin else end
    return max((until - begin).total_seconds(), 0.0)
