"""The REST interface of a Kubeflow Pipelines server, as far as runs are submitted and watched.

`kfp.Client` is not used: it follows redirects with the token, has no time limits, and ends with tracebacks, or with a
run id of None, when a proxy answers for the server.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codetr.core.errors import RunFailed, UserError
from codetr.core.settings import describe
from codetr.core.system.os_errors import unreadable
from codetr.core.text import register_secret
from pipelines.http_json import NOT_THE_SERVER, JsonServer, NotJsonError
from pipelines.options import Server

CONNECT_TIMEOUT = 10.0
"""Seconds a server may take to answer the first request."""
REQUEST_TIMEOUT = 60.0
"""Seconds it may take to answer any other one."""

TOKEN_FILE_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"
"""Environment variable of Kubeflow: the file with the service account's token, which the kubelet renews."""

SUCCEEDED = "SUCCEEDED"
CANCELING = "CANCELING"
ENDED = frozenset({SUCCEEDED, "FAILED", "CANCELED", "SKIPPED"})
"""States that do not change any more."""

_API = "/apis/v2beta1"
_EQUALS = 1
_PAGE = 100
"""Runs of a page; each holds its pipeline, about 100 KiB."""
_TOKEN = re.compile(r"[!-~]+")
_PAIR = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+=[!-:<-~]*"
_COOKIE = re.compile(rf"{_PAIR}(; ?{_PAIR})*;?")

Id = Annotated[str, Field(min_length=1)]


class Answer(BaseModel):
    """Base of what the server answers; it may hold more than is read here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Health(Answer):
    """Whether the server has several users."""

    multi_user: bool | None = None


class Experiment(Answer):
    """A list of runs."""

    experiment_id: Id


class Failure(Answer):
    """Why a run or a task failed."""

    message: str | None = None


class Task(Answer):
    """A task of a run.

    Attributes:
        display_name: its name.
        state: None for one that has not begun.
        start_time: when it began.
        end_time: when it ended; a time before its beginning for one that runs.
        error: why it failed.
    """

    display_name: str | None = None
    state: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    error: Failure | None = None


class RunDetails(Answer):
    """The tasks of a run."""

    task_details: list[Task] | None = None


class Run(Answer):
    """A run of a pipeline.

    Attributes:
        run_id: identifies it.
        display_name: its name, which other runs may have too.
        description: for people; `submit` writes the digest of the arguments into it.
        state: None for one that has not begun.
        created_at: when it was submitted.
        finished_at: when it ended; a time before its submission for one that runs.
        error: why it failed.
        run_details: its tasks.
    """

    run_id: Id
    display_name: str | None = None
    description: str | None = None
    state: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None
    error: Failure | None = None
    run_details: RunDetails | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.state in ENDED

    @property
    def tasks(self) -> list[Task]:
        """Its tasks, as far as the server knows them."""
        return (self.run_details.task_details if self.run_details else None) or []

    @property
    def reasons(self) -> str:
        """The tasks that failed with the server's message on each; "" if it gives none."""
        failed = [f"{task.display_name}: {_text(task.error)}" for task in self.tasks if task.state == "FAILED"]
        whole = _text(self.error) if self.error else ""
        return "; ".join(filter(None, [whole, *failed]))


class _Experiments(Answer):
    experiments: list[Experiment] | None = None


class _Runs(Answer):
    runs: list[Run] | None = None
    next_page_token: str | None = None


A = TypeVar("A", bound=Answer)


class PipelineApi:
    """A Kubeflow Pipelines server that has answered a health check. The errors are those of `JsonServer.request`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._http = JsonServer(
            server.endpoint, lambda: read_token(server), cookie=read_cookie(server), ca_file=server.ca_file
        )

    @property
    def endpoint(self) -> str:
        """Its address."""
        return self._http.endpoint

    @classmethod
    def connect(cls, server: Server, *, timeout: float = CONNECT_TIMEOUT) -> Self:
        """Return the server, after a health check that shows that it is there and accepts the token.

        Args:
            server: the server.
            timeout: seconds it may take to answer the health check.

        Raises:
            UserError: a wrong address, no permission, or a missing namespace.
            RunFailed: the server does not answer.
        """
        api = cls(server)
        try:
            health = api._get(Health, "/healthz", timeout=timeout)
        except NotJsonError:
            problem = "does not answer as a Kubeflow Pipelines server"
            raise UserError(problem, where=api.endpoint, hint=NOT_THE_SERVER) from None
        if health.multi_user and server.namespace is None:
            hint = "Name the one your runs belong in with --namespace."
            raise UserError("the server has several users and needs a namespace", where=api.endpoint, hint=hint)
        return api

    def experiment(self, name: str) -> Experiment:
        """Return the experiment of this name, which is created if there is none."""
        found = self._experiment(name)
        return found or self._post(Experiment, "/experiments", {"display_name": name, **self._namespace})

    def existing_experiment(self, name: str) -> Experiment:
        """Return the experiment of this name.

        Raises:
            UserError: there is none.
        """
        found = self._experiment(name)
        if found is None:
            raise UserError(f"there is no experiment '{name}'", where=self.endpoint, hint="Name it with --experiment.")
        return found

    def _experiment(self, name: str) -> Experiment | None:
        found = self._get(_Experiments, "/experiments", {"filter": _named(name), **self._namespace}).experiments
        return found[0] if found else None

    @property
    def _namespace(self) -> dict[str, str]:
        return {} if self._server.namespace is None else {"namespace": self._server.namespace}

    def newest_runs(self, experiment: Experiment, count: int = _PAGE) -> list[Run]:
        """Return some runs of an experiment, the newest first."""
        return list(islice(self._runs(experiment, {}), count))

    def runs_named(self, experiment: Experiment, name: str) -> Iterator[Run]:
        """Yield the runs of a name in an experiment, the newest first, however many others there are."""
        # A server that ignores the filter lists the others too.
        return (run for run in self._runs(experiment, {"filter": _named(name)}) if run.display_name == name)

    def _runs(self, experiment: Experiment, query: Mapping[str, str]) -> Iterator[Run]:
        query = {
            "experiment_id": experiment.experiment_id,
            "page_size": str(_PAGE),
            "sort_by": "created_at desc",
            **query,
        }
        while True:
            page = self._get(_Runs, "/runs", query)
            yield from page.runs or []
            if not page.next_page_token or page.next_page_token == query.get("page_token"):
                return
            query = {**query, "page_token": page.next_page_token}

    def start(
        self,
        experiment: Experiment,
        name: str,
        pipeline: Mapping[str, Any],
        arguments: Mapping[str, Any],
        description: str = "",
    ) -> Run:
        """Start a run of a pipeline with its arguments."""
        body = {
            "experiment_id": experiment.experiment_id,
            "display_name": name,
            "description": description,
            "pipeline_spec": dict(pipeline),
            "runtime_config": {"parameters": dict(arguments)},
        }
        return self._post(Run, "/runs", body)

    def run(self, run_id: str, *, timeout: float = REQUEST_TIMEOUT) -> Run:
        """Return a run as it is now."""
        return self._get(Run, f"/runs/{quote(run_id, safe='')}", timeout=timeout)

    def terminate(self, run_id: str) -> None:
        """Ask the server to end a run; it goes on to run for some seconds."""
        self._post(Answer, f"/runs/{quote(run_id, safe='')}:terminate", {})

    def _get(
        self, kind: type[A], path: str, query: Mapping[str, str] | None = None, *, timeout: float = REQUEST_TIMEOUT
    ) -> A:
        return self._answer(kind, path, self._http.request("GET", _API + path, query=query, timeout=timeout))

    def _post(self, kind: type[A], path: str, body: Mapping[str, Any]) -> A:
        return self._answer(kind, path, self._http.request("POST", _API + path, body=body, timeout=REQUEST_TIMEOUT))

    def _answer(self, kind: type[A], path: str, value: Mapping[str, Any]) -> A:
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            problem = f"the answer to {_API}{path} is not that of a Kubeflow Pipelines server: {describe(error)}"
            raise RunFailed(problem, where=self.endpoint) from None


def read_token(server: Server) -> str | None:
    """Return the token to send, if there is one; from now on it is masked in everything that is shown.

    Raises:
        UserError: the service account's token cannot be read, or a token is not one.
    """
    name = os.environ.get(TOKEN_FILE_VARIABLE)
    where = "--token or KFP_TOKEN"
    token = server.token
    if token is None and name:
        where = f"{TOKEN_FILE_VARIABLE}={name}"
        try:
            token = Path(name).read_text(encoding="utf-8")
        except OSError as error:
            raise unreadable(error, where) from None
        except UnicodeDecodeError:
            raise UserError("is not a token: it is not UTF-8 text", where=where) from None
    if token is None:
        return None
    register_secret(token)
    token = token.strip()
    if not _TOKEN.fullmatch(token):
        hint = "A token is one word of ASCII characters."
        raise UserError("the token is empty or holds characters that cannot be sent", where=where, hint=hint)
    return token


def read_cookie(server: Server) -> str | None:
    """Return the cookie to send, if there is one; from now on its values are masked in everything that is shown.

    Raises:
        UserError: it is not `NAME=VALUE`, or several of them separated by `; `.
    """
    if server.cookie is None:
        return None
    cookie = server.cookie.strip()
    register_secret(cookie)
    for pair in cookie.split(";"):
        register_secret(pair.partition("=")[2].strip())
    if not _COOKIE.fullmatch(cookie):
        hint = "Write NAME=VALUE, as the browser sends it."
        raise UserError("is not a cookie that can be sent", where="--cookie or KFP_COOKIE", hint=hint)
    return cookie


def _named(name: str) -> str:
    """Return the filter of what has a name."""
    return json.dumps({"predicates": [{"operation": _EQUALS, "key": "display_name", "stringValue": name}]})


def _text(error: Failure | None) -> str:
    return (error.message if error else None) or "no reason given"
