"""`codetr train --on` and `codetr evaluate --on`: the same work, elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from codetr.core.exit_codes import ExitCode
from codetr.evaluation.config import EvaluateConfig
from codetr.steps.settings import read_recipe
from tests.support.command import call
from tests.support.launch.kubernetes_server import KubernetesServer, kubernetes_server
from tests.support.launch.specs import IMAGE
from tests.support.paths import ROOT
from tests.support.pipelines.kfp_server import running_server
from tests.support.training.runs import RECIPE, drawn_dataset, train_arguments


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KubernetesServer]:
    with kubernetes_server() as running:
        (tmp_path / "config").write_text(running.kubeconfig())
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        yield running


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump({"launcher": "trainjob", "nodes": 2, "image": IMAGE}))
    return path


TRAIN = ("train", "--recipe", "tiny", "--set", "training.epochs=3", "-d", "/data/shapes", "-o", "/data/model")


@pytest.mark.slow
def test_the_job_carries_the_whole_recipe_and_its_end_is_the_commands(
    server: KubernetesServer, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of this machine, such as params.yaml, are not on the cluster."""
    thread = server.play(exit_code=2)
    code, out, err = call(capsys, *TRAIN, "--on", cluster, "--store", "s3://models/store", "--fresh")
    thread.join()
    assert code == 2
    assert "epoch 1" in out
    assert "as the test asked" in err
    [job] = server.jobs.values()
    arguments = job["spec"]["trainer"]["args"]
    recipe = read_recipe(arguments[arguments.index("--recipe") + 1])
    expected = read_recipe("tiny").override(["training.epochs=3", "training.checkpoint.every_minutes=15"])
    assert recipe == expected, "nodes are lost, and an epoch takes hours"
    assert arguments[arguments.index("--checkpoints") + 1] == "/data/model.checkpoints"
    assert arguments[arguments.index("--store") + 1] == "s3://models/store", "the job stores its model there"
    assert "--fresh" in arguments


def test_a_job_that_has_ended_is_recognised(
    server: KubernetesServer, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thread = server.play(exit_code=0)
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
    thread = server.play(exit_code=0)
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


def test_evaluation_carries_all_its_settings(
    server: KubernetesServer, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A params.yaml of this machine is not on the cluster; the text "1e-4" stays a text."""
    thread = server.play(exit_code=0)
    settings = ("--set", 'split="1e-4"', "--set", "tta={scales: [0.5]}", "-r", "/data/registry")
    code, *_ = call(
        capsys, "evaluate", "-m", "/data/model", "-d", "/data/set", "-o", "/data/out", *settings, "--on", cluster
    )
    thread.join()
    assert code == 0
    [job] = server.jobs.values()
    arguments = job["spec"]["trainer"]["args"]
    given = [value for word, value in pairwise(arguments) if word == "--set"]
    expected = EvaluateConfig.parse({"split": "1e-4", "tta": {"scales": [0.5]}}, where="test")
    assert EvaluateConfig().override(given) == expected
    assert arguments[arguments.index("--registry") + 1] == "/data/registry"
    assert job["spec"]["trainer"]["numNodes"] == 2


def test_the_job_belongs_to_the_run_of_the_pipeline(
    server: KubernetesServer, cluster: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Clean-up finds the jobs of a run by their label."""
    monkeypatch.setenv("CODETR_RUN", "Night (7)")
    thread = server.play(exit_code=0)
    assert call(capsys, *TRAIN, "--on", cluster)[0] == 0
    thread.join()
    [job] = server.jobs.values()
    assert job["metadata"]["name"].startswith("codetr-night-7-")
    assert job["metadata"]["annotations"]["codetr.dev/run"] == "Night (7)"
    assert job["metadata"]["labels"]["codetr.dev/run"] == "Night-7"


@pytest.mark.process
def test_a_stopped_task_deletes_its_job_only_if_its_run_is_being_cancelled(
    server: KubernetesServer, cluster: Path, tmp_path: Path
) -> None:
    """A pod that was evicted leaves its job to the next one, and a week of training goes on."""
    with running_server() as pipelines:
        pipelines.first_state = pipelines.ending = "RUNNING"
        pipelines.runs.append({"run_id": "run-0", "state": "RUNNING"})
        for state, exit_code, left in (("RUNNING", ExitCode.PREEMPTED, 1), ("CANCELING", ExitCode.INTERRUPTED, 0)):
            variables = {"CODETR_RUN_ID": "run-0", "KFP_ENDPOINT": pipelines.endpoint, "PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-m", "codetr", *TRAIN, "--on", str(cluster)]
            with subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                process.stdout.readline()
                pipelines.runs[0]["state"] = state
                # The server may be busy when the job is to be deleted.
                server.refusals = [] if left else [(503, "busy")] * 2
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == exit_code
            assert len(server.jobs) == left
