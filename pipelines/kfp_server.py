"""The connection to a Kubeflow Pipelines server, and its errors: mistakes, or failures that a retry may avoid."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import kfp
from kfp.client import KF_PIPELINES_SA_TOKEN_ENV, ServiceAccountTokenVolumeCredentials
from kfp_server_api import ApiClient, Configuration, HealthzServiceApi
from kfp_server_api.exceptions import ApiException
from urllib3.exceptions import HTTPError, LocationValueError, MaxRetryError, SSLError

from codetr.core.errors import ReportedError, RunFailed, UserError
from pipelines.options import Server

CONNECT_TIMEOUT = 10.0
"""Seconds a server may take to answer the first request."""

_HINTS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "Give a valid token with --token or KFP_TOKEN.",
    HTTPStatus.FORBIDDEN: "The token's user may not do this in the namespace.",
    HTTPStatus.NOT_FOUND: "Is this the address of the Kubeflow Pipelines API (version 2)?",
}
_TRANSIENT = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
"""Client errors that are no mistakes of the request."""


def connect(server: Server, *, timeout: float = CONNECT_TIMEOUT) -> kfp.Client:
    """Return a client of the server, after a health check that shows that it is there and accepts the token.

    Args:
        server: the server.
        timeout: seconds it may take to answer the health check.

    Raises:
        UserError: a wrong address, no permission, or a missing namespace.
        RunFailed: the server does not answer.
    """
    if not server.endpoint.startswith(("http://", "https://")):
        raise UserError("is not an http:// or https:// address", where=f"--endpoint {server.endpoint}")
    several_users = _check_health(server, timeout)
    if several_users and server.namespace is None:
        hint = "Name the one your runs belong in with --namespace."
        raise UserError("the server has several users and needs a namespace", where=server.endpoint, hint=hint)
    with warnings.catch_warnings(), reported_errors(server):
        warnings.simplefilter("ignore", FutureWarning)
        namespace = {} if server.namespace is None else {"namespace": server.namespace}
        return kfp.Client(
            host=server.endpoint,
            existing_token=server.token,
            # The kubelet renews the service account's token: the client reads the file before every request.
            credentials=None if _token_file(server) is None else ServiceAccountTokenVolumeCredentials(),
            **namespace,
        )


@contextmanager
def reported_errors(server: Server) -> Iterator[None]:
    """Turn the errors of requests to the server into `UserError` and `RunFailed`.

    A request that the server refuses (401, 403, 404, a wrong argument, a redirect to a login page) is a mistake: it
    would be refused again. A server that is overloaded, restarted or away may answer the next one.
    """
    try:
        yield
    except (ApiException, HTTPError) as error:
        raise reported(error, server) from None


def reported(error: ApiException | HTTPError, server: Server) -> ReportedError:
    """Return the error of a request as a `UserError` or a `RunFailed`, with the server's message."""
    if isinstance(error, ApiException):
        status, message = int(error.status or 0), _message(error)
        # The server answers 500 to some wrong arguments; then its message says what they are.
        refused = (300 <= status < 500 and status not in _TRANSIENT) or "Invalid input error" in message
        kind = UserError if refused else RunFailed
        return kind(f"the server answered {status} {message}", where=server.endpoint, hint=_HINTS.get(status))
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason is not None else error
    # A retry makes neither an address nor a certificate valid.
    kind = UserError if isinstance(cause, LocationValueError | SSLError) else RunFailed
    hint = "Is the address right? From outside the cluster: kubectl port-forward service/ml-pipeline 8888."
    return kind(f"no Kubeflow Pipelines server answers ({cause})", where=server.endpoint, hint=hint)


def _check_health(server: Server, timeout: float) -> bool:
    """Return whether the server has several users.

    `kfp.Client.get_kfp_healthz` has no time-out, and repeats a refused request for 25 seconds with a traceback each.
    """
    configuration = Configuration(host=server.endpoint.rstrip("/"))
    configuration.retries = False
    token = _token(server)
    if token is not None:
        configuration.api_key["authorization"] = token
        configuration.api_key_prefix["authorization"] = "Bearer"
    with reported_errors(server), ApiClient(configuration) as client:
        health, _, headers = HealthzServiceApi(client).healthz_service_get_healthz_with_http_info(
            # To connect, and between two packets. Of a single number, this client ignores fractions of a second.
            _request_timeout=(timeout, timeout)
        )
    if "json" not in headers.get("Content-Type", ""):
        hint = _HINTS[HTTPStatus.NOT_FOUND]
        raise UserError("does not answer as a Kubeflow Pipelines server", where=server.endpoint, hint=hint)
    return bool(health.multi_user)


def _token(server: Server) -> str | None:
    """Return the token to send, if there is one.

    Raises:
        UserError: the service account's token cannot be read.
    """
    path = _token_file(server)
    if path is None:
        return server.token
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=f"{KF_PIPELINES_SA_TOKEN_ENV}={path}") from None


def _token_file(server: Server) -> Path | None:
    """Return the service account's token file, if the token comes from there."""
    name = os.environ.get(KF_PIPELINES_SA_TOKEN_ENV)
    return Path(name) if name and server.token is None else None


def _message(error: ApiException) -> str:
    """Return the message in the body of the server's answer, else its status line."""
    try:
        body = json.loads(error.body or "")
        return str(body.get("message") or body.get("error") or error.reason)
    except (ValueError, AttributeError):
        return str(error.reason)
