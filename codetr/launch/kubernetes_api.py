"""The few requests to Kubernetes that launching needs, with time limits and errors that say what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.config.incluster_config import InClusterConfigLoader

from codetr.core.errors import ReportedError, RunFailed, UserError, first_line
from codetr.core.text import shorten
from codetr.launch.trainjob import JOB_LABEL

T = TypeVar("T")

REQUEST_TIMEOUT = (10, 60)
"""Seconds to connect, and to wait for an answer."""

LOG_LINES = 50
_MAX_LOG = 1 << 20

_OF_A_DAMAGED_FILE = (ValueError, TypeError, AttributeError)
"""What the library raises where the file has another structure."""

_GROUP, _VERSION, _PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has the credentials of its service account."""

_ANSWERS_OF_A_BUSY_SERVER = frozenset({408, 409, 429, 500, 502, 503, 504})


class AlreadyExistsError(Exception):
    """An object of that name exists."""


class KubernetesApi:
    """A namespace of a cluster.

    Attributes:
        namespace: its name.
        address: of the server, for messages.
    """

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        # A retry within the client would repeat requests for minutes without a word.
        api.rest_client.pool_manager.connection_pool_kw["retries"] = urllib3.Retry(0)
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

    def delete_job(self, name: str) -> None:
        """Delete a TrainJob and its pods; one that is gone already is what was asked for.

        Raises:
            UserError, RunFailed: see `create_job`.
        """
        self._call(
            lambda: self._jobs.delete_namespaced_custom_object(
                *self._kind, name, propagation_policy="Background", _request_timeout=REQUEST_TIMEOUT
            ),
            f"delete TrainJob {name}",
            missing=None,
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

    def log(self, pod: str, *, since: str | None = None, lines: int | None = LOG_LINES) -> tuple[str, ...]:
        """Return lines of a pod's log; empty where there is none (yet, or any more).

        Args:
            pod: its name.
            since: the time of the last line that is known; None for all.
            lines: how many of the last ones at most.
        """
        arguments: dict[str, Any] = {"timestamps": True, "limit_bytes": _MAX_LOG}
        if lines is not None:
            arguments["tail_lines"] = lines
        try:
            answer = self._core.read_namespaced_pod_log(
                pod, self.namespace, _preload_content=False, _request_timeout=REQUEST_TIMEOUT, **arguments
            )
        except (client.ApiException, urllib3.exceptions.HTTPError):
            return ()
        text = answer.data.decode("utf-8", errors="replace")
        stamped = [line.partition(" ") for line in text.splitlines()]
        return tuple(line for time, _, line in stamped if since is None or time > since)

    @property
    def _kind(self) -> tuple[str, str, str, str]:
        return _GROUP, _VERSION, self.namespace, _PLURAL

    def _call(self, request: Callable[[], Any], what: str, *, missing: Any = ...) -> Any:
        try:
            return request()
        except client.ApiException as error:
            if error.status == 404 and missing is not ...:
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
        kind: type[ReportedError] = UserError
        return kind(f"cannot {what}: {message}", where=where, hint=hint)


def _message(error: client.ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason or error.status)
