"""Submit the pipeline to a Kubeflow Pipelines server, and wait for a run to end."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from codetr.core.errors import RunFailed, UserError
from codetr.core.exit_codes import ExitCode
from codetr.core.text import one_line
from codetr.launch.spec import SecretKey
from pipelines.compile import pipeline_documents
from pipelines.kfp_server import CANCELING, CONNECT_TIMEOUT, REQUEST_TIMEOUT, SUCCEEDED, PipelineApi, Run
from pipelines.options import Server

MAX_FAILED_POLLS = 20
"""Failed polls in a row after which waiting ends: a server that is being restarted is no reason to give up."""

SETTLE = 2.0
"""Seconds after which a run that was created within the same second is listed: the server's times are whole seconds."""

_DIGEST = "codetr arguments: sha256:"
_DIGEST_IN = re.compile(rf"{_DIGEST}([0-9a-f]{{64}})")
"""What the description of a run holds."""

_MISTAKE = re.compile(rf"\bexit (code|status) {ExitCode.MISTAKE:d}\b")
"""How messages of Kubernetes ("exit code 2") and of Kubeflow's launcher ("exit status 2") name a step's exit code."""


def submit(
    server: Server,
    arguments: Mapping[str, Any],
    *,
    experiment: str,
    run_name: str,
    secrets: Mapping[str, SecretKey] | None = None,
    settle: float | None = None,
) -> str:
    """Start a run, or find the one of this name that is running or has succeeded.

    So a scheduler that was interrupted while it waited can submit again without training twice.

    The server has no unique names of runs. So two processes that submit at once may both start a run. Each one looks
    again after that: the run that was created first stays, and the process that started the other one ends it.

    Args:
        server: the server to run on.
        arguments: arguments of the pipeline `retrain`.
        experiment: the experiment that lists the run.
        run_name: its name within the experiment.
        secrets: environment variables of its tasks, from Secrets of Kubernetes.
        settle: seconds until all runs that were created in the same second are listed; None for `SETTLE`.

    Returns:
        The run's id.

    Raises:
        UserError: the server refuses the request, or the run of this name has other arguments.
        RunFailed: the server does not answer.
    """
    api = PipelineApi.connect(server)
    parent = api.experiment(experiment)
    digest = arguments_digest(arguments)
    if useful := _useful(api.runs_named(parent, run_name)):
        found = min(useful, key=_order)
        _require_same(found, digest, api.endpoint)
        return found.run_id
    description = f"{_DIGEST}{digest}"
    started = api.start(parent, run_name, pipeline_documents(secrets), arguments, description)
    time.sleep(SETTLE if settle is None else settle)
    rivals = [run for run in _useful(api.runs_named(parent, run_name)) if run.description == description]
    first = min(rivals, key=_order, default=started)
    if first.run_id != started.run_id and started.run_id in {run.run_id for run in rivals}:
        api.terminate(started.run_id)
        return first.run_id
    return started.run_id


def arguments_digest(arguments: Mapping[str, Any]) -> str:
    """Return the digest of a run's arguments, which include the image and so the code."""
    return hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()


def _useful(runs: Iterable[Run]) -> list[Run]:
    """Return the runs that are running or have succeeded, so that another one would do the same again."""
    return [run for run in runs if run.state == SUCCEEDED or not run.ended]


def _require_same(run: Run, digest: str, endpoint: str) -> None:
    """Refuse a run that was started with other arguments; one without a digest was not started by this command."""
    found = _DIGEST_IN.search(run.description or "")
    if found and found[1] != digest:
        problem = f"the run '{run.display_name}' ({run.run_id}, {run.state}) has other arguments"
        hint = "Give this one another --run-name, or the arguments that it had."
        raise UserError(problem, where=endpoint, hint=hint)


def _order(run: Run) -> tuple[bool, float, str]:
    """Return the key by which every process chooses the same of several runs: not one being cancelled, the oldest."""
    return (run.state == CANCELING, run.created_at.timestamp() if run.created_at else 0.0, run.run_id)


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
