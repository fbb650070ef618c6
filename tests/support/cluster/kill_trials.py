"""The actors of a job on a cluster, each in a process or a connection that can be killed at any moment."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import urllib3
from kubernetes import client

from codetr.launch.job import Job
from codetr.launch.kubernetes_api import KubernetesApi
from codetr.launch.supervise import Pace, supervise
from codetr.launch.trainjob import ATTEMPT_LABEL, RUN
from codetr.launch.trainjob_launcher import TrainJobLauncher
from tests.support.launch.specs import cluster

PACE = Pace(poll=0.03, backoff=(0.05,), absence=60)
LASTS = 0.25
"""Seconds that an attempt takes."""


def trial_job(number: int, failures: int) -> Job:
    """Return a job that succeeds after some attempts have failed."""
    spec = cluster(budget={"restarts": 20})
    return Job(f"trial-{number}-{failures}", ("train",), f"/data/model-{number}", spec)


def connected(address: str, namespace: str, certificate: tuple[str, str, str] | None = None) -> KubernetesApi:
    """Return a client of a server; the certificate is the file of the client's, of its key, and of the authority."""
    settings = client.Configuration(host=address)
    if certificate is not None:
        settings.cert_file, settings.key_file, settings.ssl_ca_cert = certificate
    return KubernetesApi(client.ApiClient(settings), namespace)


def launch(address: str, namespace: str, number: int, failures: int) -> None:
    """Bring a job to its end: the launcher."""
    launcher = TrainJobLauncher(connected(address, namespace), environment={})
    supervise(launcher, trial_job(number, failures), show=lambda line: print(line, flush=True), pace=PACE)


def control(address: str, namespace: str, certificate: tuple[str, str, str]) -> None:
    """End each job after a while, as its run's name says: the controller."""
    api = connected(address, namespace, certificate)
    custom = client.CustomObjectsApi(api.client)
    seen: dict[str, float] = {}
    while True:
        for job in api.jobs():
            metadata = job["metadata"]
            begun = seen.setdefault(metadata["uid"], time.monotonic())
            if job.get("status", {}).get("conditions") or time.monotonic() - begun < LASTS:
                continue
            failures = int(metadata["annotations"][RUN].rpartition("-")[2])
            kind = "Failed" if int(metadata["labels"][ATTEMPT_LABEL]) < failures else "Complete"
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            condition = {"type": kind, "status": "True", "reason": "Trial", "message": "", "lastTransitionTime": now}
            with suppress(client.ApiException):  # it was deleted meanwhile
                custom.patch_namespaced_custom_object_status(
                    "trainer.kubeflow.org",
                    "v1alpha1",
                    namespace,
                    "trainjobs",
                    metadata["name"],
                    {"status": {"conditions": [condition]}},
                )
        time.sleep(0.03)


class Connection(ThreadingHTTPServer):
    """The way to the API server, which can be cut; pods are none, since that server has no pods.

    Attributes:
        cut: whether it is: a request is then lost, or its answer, at random.
    """

    def __init__(self, api: KubernetesApi) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pool = api.client.rest_client.pool_manager
        self.target = api.address
        self.cut = False
        self.random = random.Random(0)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a launcher that was killed while it waited for an answer."""


class _Handler(BaseHTTPRequestHandler):
    server: Connection

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.server.cut and self.server.random.random() < 0.5:
            self.close_connection = True
            return
        status, content = 200, json.dumps({"items": []}).encode()
        if not self.path.startswith("/api/v1/"):
            headers = {name: self.headers[name] for name in ("Content-Type", "Accept") if name in self.headers}
            try:
                answer = self.server.pool.request(
                    self.command, self.server.target + self.path, body=body, headers=headers
                )
            except urllib3.exceptions.HTTPError:
                self.close_connection = True
                return
            status, content = answer.status, answer.data
        if self.server.cut:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_DELETE = _forward

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def connection(api: KubernetesApi) -> Iterator[Connection]:
    """Run a connection in a thread."""
    with Connection(api) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()
