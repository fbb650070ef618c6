"""Progress as Kubeflow Trainer's status server gets it, over real HTTPS."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubeflow_trainer_api.models import TrainerV1alpha1TrainerStatus

from codetr.launch.observe import observe
from codetr.tracking.trainjob_status import TrainJobStatus
from tests.support.cluster.certificate import write_certificate


class StatusServer(ThreadingHTTPServer):
    """Keeps what was posted.

    Attributes:
        posts: path, authorisation and content of each.
        answer: status of the answers.
        delay: seconds before an answer.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.posts: list[tuple[str, str, dict[str, Any]]] = []
        self.answer = 200
        self.delay = 0.0


class Handler(BaseHTTPRequestHandler):
    server: StatusServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posts.append((self.path, self.headers["Authorization"], body))
        time.sleep(self.server.delay)
        self.send_response(self.server.answer)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture
def server(certificate: tuple[Path, Path]) -> Iterator[StatusServer]:
    with StatusServer(*certificate) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


PATH = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs/night-0/status"


def status(server: StatusServer, certificate: Path, folder: Path, every: float = 0.01) -> TrainJobStatus:
    (folder / "token").write_text("secret\n")
    return TrainJobStatus(
        f"https://localhost:{server.server_address[1]}{PATH}", certificate, folder / "token", every=every
    )


def test_the_progress_is_what_the_cluster_shows(
    server: StatusServer, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    with status(server, certificate[0], tmp_path, every=60) as reporting:
        for step in range(1000):
            reporting.report(step / 2000, 3661.5, {"AP": 0.41234, "AP50": None, "AR": 0.5})
    [(path, authorisation, body)] = server.posts
    assert (path, authorisation) == (PATH, "Bearer secret")
    posted = body["trainerStatus"]
    parsed = TrainerV1alpha1TrainerStatus.from_dict(posted)
    assert parsed is not None
    assert parsed.to_dict().keys() == posted.keys(), "the API knows every field"
    job = {"metadata": {}, "status": {"trainerStatus": posted}}
    assert str(observe(job, [], lambda _: ()).progress) == "49 %, 1:01:01 left, AP 0.4123"


def test_a_server_that_hangs_or_refuses_delays_nothing(
    server: StatusServer, certificate: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A step takes milliseconds; the status of a job is for people."""
    server.delay, server.answer = 0.3, 403
    with status(server, certificate[0], tmp_path) as reporting:
        begun = time.monotonic()
        for _ in range(1000):
            reporting.report(0.5, None, {})
        assert time.monotonic() - begun < 0.3
        deadline = time.monotonic() + 10
        while len(server.posts) < 2 and time.monotonic() < deadline:
            reporting.report(0.5, None, {})
            time.sleep(0.01)
    assert [record.getMessage().count("403") for record in caplog.records] == [1]


def test_a_server_of_another_certificate_gets_no_token(
    server: StatusServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other, _ = write_certificate(tmp_path, "localhost")
    with status(server, other, tmp_path) as reporting:
        reporting.report(0.5, None, {})
    assert server.posts == []
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


def test_outside_a_job_nothing_is_reported() -> None:
    assert TrainJobStatus.of_environment({}) is None
    assert TrainJobStatus.of_environment({"KUBEFLOW_TRAINER_SERVER_URL": "https://trainer:8082"}) is None
