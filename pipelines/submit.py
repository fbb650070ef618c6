"""Submit the pipeline to a Kubeflow Pipelines server, and wait for a run to end."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_server_api.exceptions import ApiException
from urllib3.exceptions import HTTPError

from codetr.core.errors import RunFailed, UserError
from codetr.core.exit_codes import ExitCode
from pipelines.compile import compile_pipeline
from pipelines.kfp_server import connect, reported, reported_errors
from pipelines.options import Server

if TYPE_CHECKING:
    from kfp_server_api import V2beta1Run

MAX_FAILED_POLLS = 20
"""Failed polls in a row after which waiting ends: a server that is being restarted is no reason to give up."""

SUCCEEDED = "SUCCEEDED"
ENDED = frozenset({SUCCEEDED, "FAILED", "CANCELED", "SKIPPED"})

_MISTAKE = re.compile(rf"\bexit (code|status) {ExitCode.MISTAKE:d}\b")
"""How messages of Kubernetes ("exit code 2") and of Kubeflow's launcher ("exit status 2") name a step's exit code."""


def submit(server: Server, arguments: Mapping[str, Any], *, experiment: str, run_name: str) -> str:
    """Start a run, or find the one of this name that is running or has succeeded.

    So a scheduler that was interrupted while it waited can submit again without training twice.

    Args:
        server: the server to run on.
        arguments: arguments of the pipeline `retrain`.
        experiment: the experiment that lists the run.
        run_name: its name within the experiment.

    Returns:
        The run's id.

    Raises:
        UserError: the server refuses the request.
        RunFailed: the server does not answer.
    """
    client = connect(server)
    with reported_errors(server):
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
    return str(run.run_id)


def wait(server: Server, run_id: str, *, timeout: float, every: float = 15.0) -> None:
    """Wait until a run has succeeded, and print every change of its state.

    `kfp.Client.wait_for_run_completion` does not: it never returns when a run is canceled, ends at the first poll that
    fails, and asks Google for a new token at the first 401.

    Args:
        server: the server it runs on.
        run_id: the run.
        timeout: seconds to wait at most; the run itself goes on.
        every: seconds between two polls.

    Raises:
        UserError: there is no such run, or a task of it ended with a mistake in its input.
        RunFailed: the run failed otherwise, was canceled, or did not end in time; or the server stays away.
    """
    client = connect(server)
    deadline = time.monotonic() + timeout
    failed_polls, shown = 0, None
    while True:
        try:
            run = client.get_run(run_id)
            failed_polls = 0
        except (ApiException, HTTPError) as caught:
            failed_polls += 1
            error = reported(caught, server)
            if failed_polls == MAX_FAILED_POLLS or isinstance(error, UserError):
                raise error from None
        else:
            if run.state != shown:
                shown = run.state
                print(f"Run {run_id}: {shown}", flush=True)
            if run.state == SUCCEEDED:
                return
            if run.state in ENDED:
                reasons = _reasons(run)
                kind = UserError if _MISTAKE.search(reasons) else RunFailed
                raise kind(f"run {run_id} ended as {run.state}{reasons}", where=server.endpoint)
        if time.monotonic() > deadline:
            hint = "The run goes on; the same command waits for it again."
            raise RunFailed(f"run {run_id} has not ended after {timeout:.0f} s", where=server.endpoint, hint=hint)
        time.sleep(every)


def _reasons(run: V2beta1Run) -> str:
    """Return the tasks that failed with the server's message on each; "" if it gives none."""
    details = run.run_details.task_details or [] if run.run_details else []
    failed = [f"{task.display_name}: {_text(task.error)}" for task in details if task.state == "FAILED"]
    whole = _text(run.error) if run.error else ""
    reasons = "; ".join(filter(None, [whole, *failed]))
    return f" ({reasons})" if reasons else ""


def _text(error: Any) -> str:
    return str(getattr(error, "message", None) or "no reason given")
