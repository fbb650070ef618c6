"""The few requests to Kubernetes that launching needs, with time limits and errors that say what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.config.incluster_config import InClusterConfigLoader

from codetr.core.errors import RunFailed, UserError, first_line
from codetr.core.text import shorten
from codetr.launch.trainjob import API_VERSION, JOB_LABEL, parse_time

T = TypeVar("T")

REQUEST_TIMEOUT = (10, 60)
"""Seconds to connect, and to wait for an answer."""

LOG_LINES = 50
"""How many of the last lines are read at first, and of a pod that has failed."""
_MAX_LOG = 64 << 20
"""Bytes of a log that are read at a time."""
_CLOCK_DIFFERENCE = 60
"""Seconds by which the clocks of this machine and of a node may differ."""

_OF_A_DAMAGED_FILE = (ValueError, TypeError, AttributeError)
"""What the library raises where the file has another structure."""

_GROUP, _, _VERSION = API_VERSION.partition("/")
_PLURAL = "trainjobs"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has the credentials of its service account."""

_ANSWERS_OF_A_BUSY_SERVER = frozenset({408, 409, 429, 500, 502, 503, 504})


class AlreadyExistsError(Exception):
    """An object of that name exists."""


class KubernetesApi:
    """A namespace of a cluster.

    Attributes:
        client: of the server.
        namespace: its name.
        address: of the server, for messages.
    """

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        # A retry within the client would repeat requests for minutes without a word.
        api.rest_client.pool_manager.connection_pool_kw["retries"] = urllib3.Retry(0)
        self.client = api
        self.namespace = namespace
        self.address = api.configuration.host
        self._jobs = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)

    @classmethod
    def connect(cls, namespace: str | None = None, *, service_account: Path = SERVICE_ACCOUNT) -> KubernetesApi:
        """Return the cluster of the pod this process runs in, else of the current context of kubectl.

        Args:
            namespace: None for that of the pod or the context.
            service_account: folder with the credentials of a pod, if this is one.

        Raises:
            UserError: there is neither, or the configuration is damaged.
        """
        settings = client.Configuration()
        try:
            if (service_account / "namespace").is_file():
                files = (str(service_account / name) for name in ("token", "ca.crt"))
                InClusterConfigLoader(*files).load_and_set(settings)
                default = (service_account / "namespace").read_text(encoding="utf-8").strip()
            else:
                # The library reads the variable when it is imported.
                file = os.environ.get("KUBECONFIG")
                config.load_kube_config(file, client_configuration=settings)
                _, context = config.list_kube_config_contexts(file)
                default = (context.get("context") or {}).get("namespace", "default")
        except (config.ConfigException, yaml.YAMLError, OSError, LookupError, *_OF_A_DAMAGED_FILE) as error:
            hint = "Set KUBECONFIG to a working configuration of kubectl, or run this in a pod."
            raise UserError(f"no cluster is configured ({first_line(error)})", where="Kubernetes", hint=hint) from None
        return cls(client.ApiClient(settings), namespace or default)

    def create_job(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a TrainJob; fields that the server does not know are refused.

        Raises:
            AlreadyExistsError: there is one of that name.
            UserError: the server refuses it, or there is no Kubeflow Trainer.
            RunFailed: the server is away.
        """
        created: dict[str, Any] = self._call(
            lambda: self._jobs.create_namespaced_custom_object(
                *self._kind, dict(body), field_validation="Strict", _request_timeout=REQUEST_TIMEOUT
            ),
            f"create TrainJob {body['metadata']['name']}",
        )
        return created

    def jobs(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the TrainJobs that codetr has started, or all attempts of one job.

        Raises:
            UserError, RunFailed: see `create_job`.
        """
        selector = JOB_LABEL if name is None else f"{JOB_LABEL}={name}"
        found = self._call(
            lambda: self._jobs.list_namespaced_custom_object(
                *self._kind, label_selector=selector, _request_timeout=REQUEST_TIMEOUT
            ),
            "list TrainJobs",
        )
        return list(found["items"])

    def annotate_job(self, name: str, metadata: Mapping[str, Any]) -> None:
        """Merge metadata into those of a TrainJob; one that is gone is left alone.

        Raises:
            UserError, RunFailed: see `create_job`.
        """
        self._call(
            lambda: self._jobs.patch_namespaced_custom_object(
                *self._kind, name, {"metadata": dict(metadata)}, _request_timeout=REQUEST_TIMEOUT
            ),
            f"change TrainJob {name}",
            missing=None,
        )

    def delete_job(self, job: Mapping[str, Any]) -> None:
        """Delete a TrainJob and its pods; one that is gone already is what was asked for.

        Args:
            job: as it was listed; another one that has its name now stays.

        Raises:
            UserError, RunFailed: see `create_job`.
        """
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        options = client.V1DeleteOptions(propagation_policy="Background", preconditions=client.V1Preconditions(uid=uid))
        self._call(
            lambda: self._jobs.delete_namespaced_custom_object(
                *self._kind, name, body=options, _request_timeout=REQUEST_TIMEOUT
            ),
            f"delete TrainJob {name}",
            missing=None,
            gone=(404, 409),
        )

    def pods(self, name: str) -> list[dict[str, Any]]:
        """Return the pods of a TrainJob.

        Raises:
            UserError, RunFailed: see `create_job`.
        """
        answer = self._call(
            lambda: self._core.list_namespaced_pod(
                self.namespace,
                label_selector=f"jobset.sigs.k8s.io/jobset-name={name}",
                _preload_content=False,
                _request_timeout=REQUEST_TIMEOUT,
            ),
            f"list the pods of {name}",
        )
        return list(json.loads(answer.data)["items"])

    def log(self, pod: str, *, after: str | None = None) -> Iterator[tuple[str, str]]:
        """Yield times and lines of a pod's log; none where it cannot be read (yet, or any more).

        Args:
            pod: its name.
            after: yield the lines after this time; None for the last `LOG_LINES`.
        """
        arguments: dict[str, Any] = {"tail_lines": LOG_LINES}
        if after is not None:
            # Whole seconds of the server's clock; what is known already is left out below.
            age = (datetime.now(UTC) - parse_time(after)).total_seconds()
            arguments = {"since_seconds": max(int(age), 0) + _CLOCK_DIFFERENCE, "limit_bytes": _MAX_LOG}
        try:
            answer = self._core.read_namespaced_pod_log(
                pod,
                self.namespace,
                timestamps=True,
                _preload_content=False,
                _request_timeout=REQUEST_TIMEOUT,
                **arguments,
            )
        except (client.ApiException, urllib3.exceptions.HTTPError):
            return
        for text in answer.data.decode("utf-8", errors="replace").splitlines():
            time, _, line = text.partition(" ")
            if after is None or time > after:
                yield time, line

    @property
    def _kind(self) -> tuple[str, str, str, str]:
        return _GROUP, _VERSION, self.namespace, _PLURAL

    def _call(
        self, request: Callable[[], Any], what: str, *, missing: Any = ..., gone: tuple[int, ...] = (404,)
    ) -> Any:
        """Return the answer to a request; `missing`, if it is given, where the answer is that there is no object."""
        try:
            return request()
        except client.ApiException as error:
            if error.status in gone and missing is not ...:
                return missing
            raise self._refused(error, what) from None
        except urllib3.exceptions.HTTPError as error:
            raise RunFailed(f"cannot {what}: no answer ({first_line(error)})", where=self.address) from None

    def _refused(self, error: client.ApiException, what: str) -> Exception:
        message = shorten(_message(error), 500)
        where = f"{self.address}, namespace {self.namespace}"
        if error.status == 409 and "already exists" in message:
            return AlreadyExistsError(message)
        if error.status in _ANSWERS_OF_A_BUSY_SERVER:
            return RunFailed(f"cannot {what}: the server answers {error.status} {message}", where=where)
        hint = {
            401: "The credentials are not valid (any more): log in again.",
            403: "The service account needs the permissions of infra/kubernetes/trainer/rbac.yaml.",
            404: "Is Kubeflow Trainer v2 installed, and does the namespace exist?",
        }.get(error.status)
        return UserError(f"cannot {what}: {message}", where=where, hint=hint)


def _message(error: client.ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason or error.status)
