"""A small Kubernetes API server over real HTTP: TrainJobs, pods and logs, with the answers that launching depends on.

It checks TrainJobs with the models of the Trainer's API. Tests set status and pods, as controllers and kubelets would.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import yaml
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob
from kubernetes import client

from codetr.launch.kubernetes_api import KubernetesApi

NAMESPACE = "team"
JOBS = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


class KubernetesServer(ThreadingHTTPServer):
    """The server's objects.

    Attributes:
        jobs: TrainJobs by name.
        pods: pods by name.
        logs: of pods, with a time before each line.
        refusals: answers (status, message) to the next requests, instead of what they ask for.
        requests: method and path of every request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, list[str]] = {}
        self.refusals: list[tuple[int, str]] = []
        self.requests: list[tuple[str, str]] = []

    def api(self) -> KubernetesApi:
        """Return a client of it."""
        settings = client.Configuration()
        settings.host = f"http://127.0.0.1:{self.server_address[1]}"
        return KubernetesApi(client.ApiClient(settings), NAMESPACE)

    def kubeconfig(self) -> str:
        """Return a configuration of kubectl for it."""
        context = {"name": "test", "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [context],
            "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{self.server_address[1]}"}}],
            "users": [{"name": "test", "user": {}}],
        }
        return yaml.safe_dump(config)

    def play(self, exit_code: int) -> threading.Thread:
        """Play the cluster in a thread: the first job's pod runs, prints, and ends."""

        def run() -> None:
            deadline = time.monotonic() + 60
            while not self.jobs and time.monotonic() < deadline:
                time.sleep(0.01)
            [name] = self.jobs
            pod = self.set_pod(name, 0, "Running")
            self.logs[pod] = [stamped("epoch 1"), stamped("Error: as the test asked")]
            if exit_code:
                self.set_pod(name, 0, "Failed", **ended(exit_code))
                self.set_condition(name, "Failed", "FailedJobs")
            else:
                self.set_condition(name, "Complete")

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def set_condition(self, name: str, kind: str, reason: str = "", message: str = "") -> None:
        """Set a condition of a TrainJob, as the Trainer's controller does."""
        condition = {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now()}
        self.jobs[name].setdefault("status", {})["conditions"] = [condition]

    def set_pod(self, job: str, index: int, phase: str, **status: Any) -> str:
        """Set a pod of a TrainJob, and return its name."""
        name = f"{job}-node-0-{index}"
        self.pods[name] = {
            "metadata": {
                "name": name,
                "creationTimestamp": now(),
                "labels": {"jobset.sigs.k8s.io/jobset-name": job},
            },
            "status": {"phase": phase, "startTime": now(), **status},
        }
        self.logs.setdefault(name, [])
        return name


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamped(line: str) -> str:
    """Return a line of a log with the present time in front."""
    return f"{datetime.now(UTC).isoformat(timespec='microseconds')} {line}"


def ended(exit_code: int, reason: str = "Error") -> dict[str, Any]:
    """Return the status of the container `node` after its end."""
    state = {"terminated": {"exitCode": exit_code, "reason": reason, "finishedAt": now()}}
    return {"containerStatuses": [{"name": "node", "state": state}]}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: KubernetesServer

    def do_GET(self) -> None:
        url = urlparse(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if self.refused():
            return
        if url.path == JOBS:
            self.answer({"items": selected(self.server.jobs, query)})
        elif url.path == PODS:
            self.answer({"items": selected(self.server.pods, query)})
        elif url.path.startswith(PODS) and url.path.endswith("/log"):
            lines = self.server.logs.get(url.path.split("/")[-2])
            if lines is None:
                self.refuse(404, "pods not found")
            else:
                lines = lines[-int(query.get("tailLines", "1000000")) :]
                if "sinceSeconds" in query:
                    since = datetime.now(UTC) - timedelta(seconds=int(query["sinceSeconds"]))
                    lines = [line for line in lines if datetime.fromisoformat(line.partition(" ")[0]) >= since]
                self.send("\n".join(lines).encode()[: int(query.get("limitBytes", "1000000000"))])
        else:
            self.refuse(404, "the server could not find the requested resource")

    def do_POST(self) -> None:
        body = self.body()
        if self.refused():
            return
        name = body["metadata"]["name"]
        if name in self.server.jobs:
            self.refuse(409, f'trainjobs.trainer.kubeflow.org "{name}" already exists')
            return
        parsed = TrainerV1alpha1TrainJob.from_dict(body)
        # The models drop fields that they do not know; the server refuses them when it is asked to be strict.
        if parsed is None or parsed.to_dict() != body or "fieldValidation=Strict" not in self.path:
            self.refuse(422, "TrainJob is invalid: unknown field")
            return
        body["metadata"].update(creationTimestamp=now(), uid=str(uuid.uuid4()))
        self.server.jobs[name] = body
        self.answer(body)

    def do_PATCH(self) -> None:
        body = self.body()
        if self.refused():
            return
        job = self.server.jobs.get(urlparse(self.path).path.rpartition("/")[2])
        if job is None:
            self.refuse(404, "not found")
            return
        merge(job, body)
        self.answer(job)

    def do_DELETE(self) -> None:
        options = self.body()
        if self.refused():
            return
        name = urlparse(self.path).path.rpartition("/")[2]
        job = self.server.jobs.get(name)
        if job is None:
            self.refuse(404, "not found")
            return
        if options["preconditions"]["uid"] != job["metadata"]["uid"]:
            self.refuse(409, "the UID in the precondition does not match the UID in record")
            return
        del self.server.jobs[name]
        self.server.pods = {pod: value for pod, value in self.server.pods.items() if not pod.startswith(f"{name}-node")}
        self.answer({"status": "Success"})

    def refused(self) -> bool:
        self.server.requests.append((self.command, self.path))
        if not self.server.refusals:
            return False
        self.refuse(*self.server.refusals.pop(0))
        return True

    def body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))) or "{}")

    def refuse(self, status: int, message: str) -> None:
        self.answer({"kind": "Status", "message": message, "code": status}, status)

    def answer(self, value: Any, status: int = 200) -> None:
        self.send(json.dumps(value).encode(), status, "application/json")

    def send(self, content: bytes, status: int = 200, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def selected(objects: dict[str, dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    """Return the objects with a label, or with a label of a value."""
    key, _, value = query.get("labelSelector", "").partition("=")
    labels = [(one, one["metadata"].get("labels") or {}) for one in objects.values()]
    return [one for one, of_it in labels if key in of_it and value in ("", of_it[key])]


def merge(target: dict[str, Any], changes: dict[str, Any]) -> None:
    """Apply a JSON merge patch."""
    for name, value in changes.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, dict) and isinstance(target.get(name), dict):
            merge(target[name], value)
        else:
            target[name] = value


@contextmanager
def kubernetes_server() -> Iterator[KubernetesServer]:
    """Run a server in a thread."""
    server = KubernetesServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
