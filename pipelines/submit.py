"""Submit the pipeline to a Kubeflow Pipelines server, and wait for a run to end."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from typing import Any

from codetr.core.errors import RunFailed, UserError
from codetr.core.exit_codes import ExitCode
from codetr.core.text import one_line
from codetr.launch.spec import SecretKey
from pipelines.compile import pipeline_documents
from pipelines.kfp_server import CONNECT_TIMEOUT, REQUEST_TIMEOUT, SUCCEEDED, PipelineApi
from pipelines.options import Server

MAX_FAILED_POLLS = 20
"""Failed polls in a row after which waiting ends: a server that is being restarted is no reason to give up."""

_MISTAKE = re.compile(rf"\bexit (code|status) {ExitCode.MISTAKE:d}\b")
"""How messages of Kubernetes ("exit code 2") and of Kubeflow's launcher ("exit status 2") name a step's exit code."""


def submit(
    server: Server,
    arguments: Mapping[str, Any],
    *,
    experiment: str,
    run_name: str,
    secrets: Mapping[str, SecretKey] | None = None,
) -> str:
    """Start a run, or find the one of this name that is running or has succeeded.

    So a scheduler that was interrupted while it waited can submit again without training twice.

    Args:
        server: the server to run on.
        arguments: arguments of the pipeline `retrain`.
        experiment: the experiment that lists the run.
        run_name: its name within the experiment.
        secrets: environment variables of its tasks, from Secrets of Kubernetes.

    Returns:
        The run's id.

    Raises:
        UserError: the server refuses the request.
        RunFailed: the server does not answer.
    """
    api = PipelineApi.connect(server)
    parent = api.experiment(experiment)
    for run in api.runs_named(parent, run_name):
        if run.state == SUCCEEDED or not run.ended:
            return run.run_id
    return api.start(parent, run_name, pipeline_documents(secrets), arguments).run_id


def wait(
    server: Server, run_id: str, *, timeout: float, every: float = 15.0, request_timeout: float = REQUEST_TIMEOUT
) -> None:
    """Wait until a run has succeeded, and print every change of its state.

    Args:
        server: the server it runs on.
        run_id: the run.
        timeout: seconds to wait at most; the run itself goes on.
        every: seconds between two polls.
        request_timeout: seconds the server may take to answer a poll.

    Raises:
        UserError: there is no such run, or a task of it ended with a mistake in its input.
        RunFailed: the run failed otherwise, was canceled, or did not end in time; or the server stays away.
    """
    if math.isnan(timeout):
        raise UserError("is not a number of hours", where="--timeout")
    deadline = time.monotonic() + timeout
    api = PipelineApi.connect(server)
    failed_polls, shown = 0, None
    while True:
        try:
            # A request that hangs does not outlast the time limit by more than the time of a first request.
            left = deadline - time.monotonic()
            run = api.run(run_id, timeout=min(request_timeout, max(left, CONNECT_TIMEOUT)))
            failed_polls = 0
        except RunFailed:
            failed_polls += 1
            if failed_polls == MAX_FAILED_POLLS:
                raise
        else:
            if run.state != shown:
                shown = run.state
                print(one_line(f"Run {run_id}: {shown}"), flush=True)
            if run.state == SUCCEEDED:
                return
            if run.ended:
                reasons = f" ({run.reasons})" if run.reasons else ""
                kind = UserError if _MISTAKE.search(reasons) else RunFailed
                raise kind(f"run {run_id} ended as {run.state}{reasons}", where=api.endpoint)
        if time.monotonic() >= deadline:
            hint = "The run goes on; the same command waits for it again."
            raise RunFailed(f"run {run_id} has not ended after {timeout:.0f} s", where=api.endpoint, hint=hint)
        time.sleep(max(0.0, min(every, deadline - time.monotonic())))
