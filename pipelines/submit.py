"""Submitting the pipeline to a Kubeflow Pipelines server, and waiting for a run to end."""

from __future__ import annotations

import json
import os
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kfp
from kfp.client import KF_PIPELINES_SA_TOKEN_ENV, ServiceAccountTokenVolumeCredentials
from kfp_server_api.exceptions import ApiException
from urllib3.exceptions import HTTPError

from codetr.core.errors import UserError
from pipelines.package import compile_pipeline

if TYPE_CHECKING:
    from kfp_server_api import V2beta1Run

CONNECT_TIMEOUT = 10.0
"""Seconds a server may take to answer the first question."""
PATIENCE = 20
"""How many polls in a row may fail before waiting is given up: a server that is restarted is not an error."""
SUCCEEDED = "SUCCEEDED"
ENDED = frozenset({SUCCEEDED, "FAILED", "CANCELED", "SKIPPED"})


@dataclass(frozen=True)
class Server:
    """A Kubeflow Pipelines server.

    Attributes:
        endpoint: its address, e.g. http://localhost:8888.
        namespace: the run's namespace, where the server has several users.
        token: a bearer token; None uses the service account's token if its path is in the environment.
    """

    endpoint: str
    namespace: str | None = None
    token: str | None = None

    def bearer(self) -> str | None:
        """The token to send, if there is one.

        Raises:
            UserError: the service account's token cannot be read.
        """
        path = os.environ.get(KF_PIPELINES_SA_TOKEN_ENV)
        if self.token is not None or path is None:
            return self.token
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where=f"{KF_PIPELINES_SA_TOKEN_ENV}={path}") from None

    def connect(self) -> kfp.Client:
        """A client of the server, after one question that shows that it is there and lets us in.

        Raises:
            UserError: no server at the endpoint, no permission, or a missing namespace.
        """
        if not self.endpoint.startswith(("http://", "https://")):
            raise UserError("is not an http:// or https:// address", where=f"--endpoint {self.endpoint}")
        several_users = self._health().get("multi_user", False)
        if several_users and self.namespace is None:
            hint = "Name the one your runs belong in with --namespace."
            raise UserError("the server has several users and needs a namespace", where=self.endpoint, hint=hint)
        from_file = self.token is None and KF_PIPELINES_SA_TOKEN_ENV in os.environ
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            client = kfp.Client(
                host=self.endpoint,
                existing_token=self.token,
                # These are read again whenever the kubelet has renewed them.
                credentials=ServiceAccountTokenVolumeCredentials() if from_file else None,
            )
        if several_users:
            client._context_setting["namespace"] = self.namespace
        return client

    def _health(self) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.endpoint.rstrip('/')}/apis/v2beta1/healthz")
        bearer = self.bearer()
        if bearer is not None:
            request.add_header("Authorization", f"Bearer {bearer}")
        try:
            with urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise refusal(error.code, error.reason, self.endpoint) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            hint = "Is the address right? From outside the cluster: kubectl port-forward service/ml-pipeline 8888."
            raise UserError(
                f"no Kubeflow Pipelines server answers ({reason})", where=self.endpoint, hint=hint
            ) from None
        return answer if isinstance(answer, dict) else {}


def refusal(status: int | None, reason: str | None, endpoint: str) -> UserError:
    """A server's HTTP error as a mistake that can be mended."""
    hints = {
        HTTPStatus.UNAUTHORIZED: "Give a valid token with --token or KFP_TOKEN.",
        HTTPStatus.FORBIDDEN: "The token's user may not do this in the namespace.",
        HTTPStatus.NOT_FOUND: "Is this the address of the Kubeflow Pipelines API (version 2)?",
    }
    hint = next((text for code, text in hints.items() if code == status), None)
    return UserError(f"the server answered {status} {reason or ''}".rstrip(), where=endpoint, hint=hint)


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
