"""`codetr train --on`: the same training, elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from codetr.core.exit_codes import ExitCode
from codetr.steps.settings import read_recipe
from tests.support.command import call
from tests.support.launch.kubernetes_server import NAMESPACE, KubernetesServer, ended, kubernetes_server, stamped
from tests.support.launch.specs import IMAGE
from tests.support.paths import ROOT
from tests.support.training.runs import RECIPE, drawn_dataset, train_arguments


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KubernetesServer]:
    with kubernetes_server() as running:
        context = {"name": "test", "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}}
        address = f"http://127.0.0.1:{running.server_address[1]}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [context],
            "clusters": [{"name": "test", "cluster": {"server": address}}],
            "users": [{"name": "test", "user": {}}],
        }
        (tmp_path / "config").write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        yield running


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump({"launcher": "trainjob", "nodes": 2, "image": IMAGE}))
    return path


def play(server: KubernetesServer, exit_code: int) -> threading.Thread:
    """Play the cluster in a thread: the first job's pod runs, prints, and ends."""

    def run() -> None:
        deadline = time.monotonic() + 60
        while not server.jobs and time.monotonic() < deadline:
            time.sleep(0.01)
        [name] = server.jobs
        pod = server.set_pod(name, 0, "Running")
        server.logs[pod] = [stamped("epoch 1"), stamped("Error: as the test asked")]
        if exit_code:
            server.set_pod(name, 0, "Failed", **ended(exit_code))
            server.set_condition(name, "Failed", "FailedJobs")
        else:
            server.set_condition(name, "Complete")

    thread = threading.Thread(target=run)
    thread.start()
    return thread


TRAIN = ("train", "--recipe", "tiny", "--set", "training.epochs=3", "-d", "/data/shapes", "-o", "/data/model")


@pytest.mark.slow
def test_the_job_carries_the_whole_recipe_and_its_end_is_the_commands(
    server: KubernetesServer, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of this machine, such as params.yaml, are not on the cluster."""
    thread = play(server, exit_code=2)
    code, out, err = call(capsys, *TRAIN, "--on", cluster, "--store", "s3://models/store", "--fresh")
    thread.join()
    assert code == 2
    assert "epoch 1" in out
    assert "as the test asked" in err
    [job] = server.jobs.values()
    arguments = job["spec"]["trainer"]["args"]
    recipe = read_recipe(arguments[arguments.index("--recipe") + 1])
    assert recipe == read_recipe("tiny").override(["training.epochs=3"])
    assert arguments[arguments.index("--checkpoints") + 1] == "/data/model.checkpoints"
    assert arguments[arguments.index("--store") + 1] == "s3://models/store", "the job stores its model there"
    assert "--fresh" in arguments


def test_a_job_that_has_ended_is_recognised(
    server: KubernetesServer, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thread = play(server, exit_code=0)
    for _ in range(2):
        assert call(capsys, *TRAIN, "--on", cluster)[0] == 0
    thread.join()
    assert len(server.jobs) == 1


def test_paths_of_this_machine_are_refused(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, *TRAIN[:-1], "outputs/model", "--on", cluster)
    assert code == 2
    assert "--output: 'outputs/model' is relative" in err


@pytest.mark.slow
def test_jobs_are_listed_cancelled_and_swept(
    server: KubernetesServer, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thread = play(server, exit_code=0)
    call(capsys, *TRAIN, "--on", cluster)
    thread.join()
    [name] = server.jobs
    assert name in call(capsys, "jobs", "list")[1]
    code, _, err = call(capsys, "jobs", "cancel", name[:-3])
    assert code == 2
    assert f"Did you mean '{name}'" in err
    assert call(capsys, "jobs", "sweep")[1].splitlines()[-1] == "0 deleted"
    assert call(capsys, "jobs", "cancel", name)[0] == 0
    assert server.jobs == {}


@pytest.mark.process
def test_a_job_on_this_machine_saves_when_its_command_is_stopped(tmp_path: Path) -> None:
    """Else a day of training ends with the terminal."""
    dataset = drawn_dataset(tmp_path)
    long = RECIPE.training.model_copy(update={"epochs": 200, "validate_every": 0})
    arguments = train_arguments(tmp_path, dataset, training=long)
    (tmp_path / "local.yaml").write_text("launcher: local\n")
    # --nproc and --force are options of a run without a cluster.
    arguments = arguments[: arguments.index("--nproc")]
    command = [sys.executable, "-m", "codetr", *arguments, "--on", str(tmp_path / "local.yaml")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "train  step " in line:
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stdout.read()
        assert process.wait(60) == ExitCode.PREEMPTED, rest
    assert "checkpoint" in rest, "the last lines of the command are shown"
    assert list((tmp_path / "checkpoints").glob("step-*"))


def test_options_of_this_machine_are_refused(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They would be ignored."""
    for option in (("--nproc", "2"), ("--force",)):
        code, _, err = call(capsys, *TRAIN, "--on", cluster, *option)
        assert code == 2
        assert f"{option[0]}: cannot be combined with --on" in err


def test_files_of_this_machine_that_the_recipe_names_are_refused(
    cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would be missing after hours in the queue."""
    code, _, err = call(capsys, *TRAIN, "--set", "init_from=outputs/model", "--on", cluster)
    assert code == 2
    assert "init_from: 'outputs/model' is relative" in err
