"""Looking at runs on a server: which one is meant, what its tasks did, how long they took."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from codetr.core.errors import UserError
from pipelines.find_run import find_run
from pipelines.kfp_server import PipelineApi, Run
from pipelines.options import Server
from pipelines.status import describe_run, run_row, task_rows
from tests.support.pipelines.kfp_server import PipelineServer

ID = "0a1b2c3d-0000-4000-8000-0123456789ab"
NEVER = "1970-01-01T00:00:00Z"
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def task(name: str, state: str, start: str, end: str = NEVER, message: str | None = None) -> dict[str, Any]:
    error = {"code": 13, "message": message} if message else None
    return {"display_name": name, "state": state, "start_time": start, "end_time": end, "error": error}


RUN = Run.model_validate(
    {
        "run_id": ID,
        "display_name": "night",
        "state": "RUNNING",
        "created_at": "2026-05-01T10:00:00Z",
        "finished_at": NEVER,
        "run_details": {
            "task_details": [
                task("train", "RUNNING", "2026-05-01T10:30:00Z"),
                task("prepare", "SUCCEEDED", "2026-05-01T10:00:00Z", "2026-05-01T10:29:30Z"),
                task("preflight", "FAILED", "2026-05-01T09:59:00Z", "2026-05-01T09:59:05Z", "no such volume"),
            ]
        },
    }
)


def test_tasks_are_listed_as_they_began_with_their_durations() -> None:
    """The server lists them in any order, and says 1970 for what has not ended."""
    description = describe_run(RUN, "http://kfp:8888", now=NOW)
    assert (description["state"], description["seconds"]) == ("RUNNING", 7200)
    assert description["page"] == f"http://kfp:8888/#/runs/details/{ID}"
    assert [(one["task"], one["seconds"]) for one in description["tasks"]] == [
        ("preflight", 5),
        ("prepare", 1770),
        ("train", 5400),
    ]
    assert [row[3] for row in task_rows(description)] == ["no such volume", "", ""]


def test_a_run_that_has_not_begun_has_no_tasks() -> None:
    new = Run(run_id="run-1")
    assert describe_run(new, "http://kfp:8888")["tasks"] == []
    assert run_row(new) == ("", "run-1", "PENDING", "")


def test_a_run_is_found_by_its_id_and_the_newest_of_a_name(server: PipelineServer) -> None:
    api = PipelineApi.connect(Server(endpoint=server.endpoint))
    experiment = api.experiment("codetr")
    for run_id, name in (("run-a", "night"), (ID, "night"), ("run-c", "other")):
        entry = {"experiment_id": experiment.experiment_id, "run_id": run_id, "display_name": name, "state": "RUNNING"}
        server.runs.append(entry)
    assert find_run(api, "codetr", "night").run_id == ID
    assert find_run(api, "another", ID).run_id == ID
    with pytest.raises(UserError, match="there is no run 'day' in the experiment 'codetr'"):
        find_run(api, "codetr", "day")
    with pytest.raises(UserError, match="there is no experiment 'other'"):
        find_run(api, "other", "night")
    assert len(server.experiments) == 1, "looking creates nothing"
