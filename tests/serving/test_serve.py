"""`codetr serve` as a process: it loads a registered model, answers, and ends without dropping a request."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from codetr.core.errors import RunFailed, UserError
from codetr.core.exit_codes import ExitCode
from codetr.core.manifest import Manifest
from codetr.registry.store import Registry
from codetr.serving.app import Limits
from codetr.serving.serve import serve
from tests.support.inference_client import encoded, json_request
from tests.support.models.finder import scene
from tests.support.models.small_models import write_model


@pytest.mark.process
def test_a_server_answers_what_it_has_accepted_before_it_ends(tmp_path: Path) -> None:
    """A rollout must not cost requests; and a model that was changed after training must not be served."""
    folder = write_model(tmp_path / "model")
    command = [
        sys.executable,
        "-m",
        "codetr",
        "serve",
        "--model",
        str(folder),
        "--port",
        "0",
        "--max-delay",
        "1000",
        "--score",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            version = Manifest.read(folder, "model").digest.removeprefix("sha256:")[:12]
            assert line.startswith(f"codetr (version {version}) is served at http://127.0.0.1:")
            address = line.rpartition(" ")[2].strip()
            answers: list[httpx.Response] = []
            body = json_request(encoded(scene(20, 20)))
            with httpx.Client(trust_env=False, timeout=60) as client:
                asking = threading.Thread(target=lambda: answers.append(client.post(f"{address}/infer", json=body)))
                asking.start()
                # The image waits for others of its size: the signal comes before it is run.
                time.sleep(0.3)
                process.send_signal(signal.SIGTERM)
                assert not answers
                asking.join()
            [answer] = answers
            assert answer.status_code == 200
            assert answer.json()["model_version"] == version
            assert process.wait(30) == ExitCode.OK
        finally:
            process.kill()


def test_files_that_differ_from_their_digest_are_not_served(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors: .*digest"):
        serve(folder, port=0)


def test_an_alias_that_names_no_version_is_an_error(tmp_path: Path) -> None:
    Registry.open(tmp_path / "registry", create=True)
    with pytest.raises(UserError, match="no version is 'champion'"):
        serve(f"{tmp_path / 'registry'}@champion")


@pytest.mark.parametrize(("name", "model"), [("a/b", "model"), ("", "model"), ("codetr", "tiny")])
def test_wrong_arguments_are_refused_before_the_model_is_loaded(name: str, model: str) -> None:
    with pytest.raises(UserError, match=r"use letters|is a recipe"):
        serve(model, name=name)


def test_a_request_that_could_never_be_answered_is_noticed_at_the_start() -> None:
    with pytest.raises(UserError, match="a request may have 100 images, but only 32 may wait"):
        serve("model", limits=Limits(images=100))


def test_a_port_that_is_taken_is_a_failure_that_a_retry_may_avoid(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RunFailed, match=f"port {port}: cannot listen at 127.0.0.1"):
            serve(folder, port=port, device="cpu")
