"""Submitting the pipeline to a Kubeflow Pipelines server, and waiting for a run to end."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_server_api.exceptions import ApiException
from urllib3.exceptions import HTTPError

from codetr.core.errors import UserError
from pipelines.compile import compile_pipeline
from pipelines.kfp_server import Server, refusal

if TYPE_CHECKING:
    from kfp_server_api import V2beta1Run

PATIENCE = 20
"""How many polls in a row may fail before waiting is given up: a server that is restarted is not an error."""
SUCCEEDED = "SUCCEEDED"
ENDED = frozenset({SUCCEEDED, "FAILED", "CANCELED", "SKIPPED"})


def submit(server: Server, arguments: Mapping[str, Any], *, experiment: str, run_name: str) -> str:
    """Start a run, or find the one of this name that is running or has succeeded already.

    So whoever was interrupted while waiting can ask again without training twice.

    Args:
        server: where.
        arguments: of the pipeline `retrain`.
        experiment: under which the run is shown.
        run_name: its name within the experiment.

    Returns:
        The run's id.

    Raises:
        UserError: the server is not there, or refuses.
    """
    client = server.connect()
    try:
        parent = client.create_experiment(experiment, namespace=server.namespace)
        runs = client.list_runs(page_size=100, sort_by="created_at desc", experiment_id=parent.experiment_id).runs
        for run in runs or []:
            if run.display_name == run_name and (run.state == SUCCEEDED or run.state not in ENDED):
                return str(run.run_id)
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / "retrain.yaml"
            compile_pipeline(package)
            run = client.run_pipeline(
                parent.experiment_id, run_name, pipeline_package_path=str(package), params=dict(arguments)
            )
    except ApiException as error:
        raise refusal(error.status, _message(error), server.endpoint) from None
    except HTTPError as error:
        raise UserError(f"the connection failed: {error}", where=server.endpoint) from None
    return str(run.run_id)


def wait(server: Server, run_id: str, *, timeout: float, every: float = 15.0) -> None:
    """Wait until a run has succeeded.

    Args:
        server: where it runs.
        run_id: which.
        timeout: seconds to wait at most; the run itself goes on.
        every: seconds between two looks.

    Raises:
        UserError: it failed (with the tasks that did), was cancelled, did not end in time, or could not be asked.
    """
    client = server.connect()
    deadline = time.monotonic() + timeout
    failures, shown = 0, None
    while True:
        try:
            run = client.get_run(run_id)
            failures = 0
        except (ApiException, HTTPError) as error:
            failures += 1
            if failures == PATIENCE or getattr(error, "status", None) == HTTPStatus.NOT_FOUND:
                raise UserError(f"run {run_id} cannot be asked for: {error}", where=server.endpoint) from None
        else:
            if run.state != shown:
                shown = run.state
                print(f"Run {run_id}: {shown}", flush=True)
            if run.state == SUCCEEDED:
                return
            if run.state in ENDED:
                raise UserError(f"run {run_id} ended as {run.state}{_reasons(run)}", where=server.endpoint)
        if time.monotonic() > deadline:
            hint = "It goes on; the same command waits for it again."
            raise UserError(f"run {run_id} has not ended after {timeout:.0f} s", where=server.endpoint, hint=hint)
        time.sleep(every)


def _reasons(run: V2beta1Run) -> str:
    """Which tasks failed, and what the server says of it."""
    details = run.run_details.task_details or [] if run.run_details else []
    failed = [f"{task.display_name}: {_text(task.error)}" for task in details if task.state == "FAILED"]
    whole = _text(run.error) if run.error else ""
    reasons = "; ".join(filter(None, [whole, *failed]))
    return f" ({reasons})" if reasons else ""


def _text(error: Any) -> str:
    return str(getattr(error, "message", None) or "no reason given")


def _message(error: ApiException) -> str | None:
    """What the server said in the body of its answer, else the status line."""
    try:
        body = json.loads(error.body or "")
        return str(body.get("message") or body.get("error") or error.reason)
    except (ValueError, AttributeError):
        return str(error.reason)
