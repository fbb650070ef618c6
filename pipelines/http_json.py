"""Requests for JSON to a server that may be away, hang, or answer anything.

Every request ends: with an answer, or within its time limit with a `UserError` or `RunFailed`. Redirects are not
followed: they would send the token to another server than the one that was given.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import certifi
import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, MaxRetryError, SSLError

from codetr.core.errors import ReportedError, RunFailed, UserError, first_line
from codetr.core.system.os_errors import unreadable
from codetr.core.text import shorten

T = TypeVar("T")

MAX_ANSWER = 64 << 20
"""Bytes of an answer; a hundred runs with their pipelines have about 10 MiB."""

NOT_THE_SERVER = "Is this the address of the Kubeflow Pipelines API (version 2)?"

_HINTS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "Give a valid token with --token or KFP_TOKEN, or a cookie with KFP_COOKIE.",
    HTTPStatus.FORBIDDEN: "The token's user may not do this in the namespace.",
    HTTPStatus.NOT_FOUND: NOT_THE_SERVER,
}
_TRANSIENT = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
"""Client errors that are no mistakes of the request."""

_AWAY = "Is the address right? From outside the cluster: kubectl port-forward service/ml-pipeline 8888."
_MESSAGE_LENGTH = 500


class NotJsonError(RunFailed):
    """The server answered with something else than a JSON object, e.g. a page for people."""


def check_address(endpoint: str) -> str:
    """Return the address of a server without `/` at its end.

    Raises:
        UserError: it is no http:// or https:// address of a host, its port is no port, or it holds a password.
    """
    where = f"--endpoint {endpoint}"
    if not endpoint.startswith(("http://", "https://")):
        raise UserError("is not an http:// or https:// address", where=where)
    try:
        parts = urlsplit(endpoint)
        _, host = parts.port, parts.hostname
    except ValueError as error:
        raise UserError(f"is not an address: {error}", where=where) from None
    if parts.username is not None or parts.password is not None:
        hint = "Give a bearer token with --token or KFP_TOKEN."
        raise UserError("holds a user or a password, which is not sent", where=where, hint=hint)
    if not host or not endpoint.isprintable() or " " in endpoint or parts.query or parts.fragment:
        raise UserError("is not the address of a server", where=where, hint="Write http://HOST:PORT.")
    return endpoint.rstrip("/")


def within(seconds: float, call: Callable[[], T], where: str) -> T:
    """Return what `call` returns, or raise what it raises.

    The time limits of sockets are between two packets: a server that sends one byte now and then passes them all.

    Raises:
        RunFailed: it does not end in time. Its thread is left to itself, and ends with the process.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="http-request", daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        problem = f"no Kubeflow Pipelines server answers (the request timed out after {seconds:g} s)"
        raise RunFailed(problem, where=where, hint=_AWAY)
    return done[0]


class JsonServer:
    """A server that answers requests with JSON objects.

    Args:
        endpoint: its address.
        token: returns the bearer token for the next request, None for none.
        cookie: is sent with every request; None for none.
        ca_file: certificates (PEM) of authorities that are trusted, too.

    Raises:
        UserError: the address or the file cannot be used.
    """

    def __init__(
        self,
        endpoint: str,
        token: Callable[[], str | None],
        *,
        cookie: str | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self.endpoint = check_address(endpoint)
        self._token = token
        self._cookie = cookie
        context = None
        if self.endpoint.startswith("https:"):
            context = ssl.create_default_context()
            context.load_verify_locations(certifi.where())
            if ca_file is not None:
                _trust(context, ca_file)
        self._pool = urllib3.PoolManager(retries=False, ssl_context=context)

    def request(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the answer to a request.

        Args:
            method: GET or POST.
            path: below the endpoint; begins with `/`.
            timeout: seconds until the answer has to be complete.
            query: of the address.
            body: sent as JSON.

        Raises:
            UserError: the server refuses the request (401, 403, 404, a wrong argument) or redirects it; the same
                request would be refused again. Or the address cannot be used.
            RunFailed: the server is overloaded, restarting or away, or breaks off; it may answer the next request.
            NotJsonError: a success whose content is not a JSON object.
        """
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if (token := self._token()) is not None:
            headers["Authorization"] = f"Bearer {token}"
        if self._cookie is not None:
            headers["Cookie"] = self._cookie

        def send() -> tuple[int, str, str | None, bytes]:
            answer = self._pool.request(
                method,
                self.endpoint + path,
                fields=dict(query) if query else None,
                headers=headers,
                body=None if body is None else json.dumps(body).encode(),
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=timeout, read=timeout),
            )
            try:
                content = answer.read(MAX_ANSWER + 1, decode_content=True)
            finally:
                answer.close()
            return answer.status, str(answer.reason or ""), answer.headers.get("Location"), content

        try:
            status, reason, location, content = within(timeout, send, self.endpoint)
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise self._unreachable(error) from None
        if 300 <= status < 400:
            hint = (
                "If that is a page to log in, give a token, or with KFP_COOKIE the cookie of a browser that has logged "
                f"in. Else give the address that it redirects to, if you trust it. {NOT_THE_SERVER}"
            )
            problem = f"the server answered {status} and redirects to {location}, which is not followed"
            raise UserError(problem, where=self.endpoint, hint=hint)
        if not 200 <= status < 300:
            raise self._refused(status, _message(content) or reason)
        value = _json(content)
        if not isinstance(value, dict):
            raise NotJsonError(f"the answer to {method} {path} is not a JSON object", where=self.endpoint)
        return value

    def _refused(self, status: int, message: str) -> ReportedError:
        # The server answers 500 to some wrong arguments; then its message says what they are.
        refused = (status < 500 and status not in _TRANSIENT) or "Invalid input error" in message
        kind = UserError if refused else RunFailed
        problem = f"the server answered {status} {shorten(message, _MESSAGE_LENGTH)}".rstrip()
        return kind(problem, where=self.endpoint, hint=_HINTS.get(status))

    def _unreachable(self, error: Exception) -> ReportedError:
        cause = error.reason if isinstance(error, MaxRetryError) and error.reason is not None else error
        # A retry makes neither an address nor a certificate valid.
        mistake = isinstance(cause, LocationValueError | SSLError | UnicodeError | http.client.InvalidURL)
        kind = UserError if mistake else RunFailed
        return kind(f"no Kubeflow Pipelines server answers ({first_line(cause)})", where=self.endpoint, hint=_AWAY)


def _trust(context: ssl.SSLContext, file: Path) -> None:
    try:
        context.load_verify_locations(file)
    except ssl.SSLError:
        hint = "Give certificates in PEM format."
        raise UserError("holds no certificates", where=f"--ca-file {file}", hint=hint) from None
    except OSError as error:
        raise unreadable(error, f"--ca-file {file}") from None


def _json(content: bytes) -> Any:
    """Return the value of JSON text; None if it is none."""
    if len(content) > MAX_ANSWER:
        return None
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def _message(content: bytes) -> str | None:
    """Return the message in the body of the answer to a request that failed."""
    value = _json(content)
    if not isinstance(value, dict):
        return None
    message = value.get("message") or value.get("error")
    return None if message is None else str(message)
