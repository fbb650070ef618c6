"""The compiled pipeline: its shape, and how it is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import dsl, kubernetes
from kfp.pipeline_spec import pipeline_spec_pb2

from codetr.core.errors import UserError
from codetr.launch.spec import SecretKey
from components.prepare.component import prepare
from pipelines.compile import compile_pipeline, pipeline_documents
from tests.support.paths import ROOT

Compiled = tuple[dict[str, Any], dict[str, Any]]
"""The document of the pipeline and that of the platform."""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Compile the pipeline."""
    path = tmp_path_factory.mktemp("compiled") / "retrain.yaml"
    compile_pipeline(path)
    pipeline, platform = yaml.safe_load_all(path.read_text())
    return pipeline, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_the_steps_wait_for_one_another(compiled: Compiled) -> None:
    tasks = compiled[0]["root"]["dag"]["tasks"]
    assert {name: task.get("dependentTasks", []) for name, task in tasks.items()} == {
        "prepare": [],
        "train": ["prepare"],
        "evaluate": ["prepare", "train"],
        "register": ["evaluate", "train"],
    }


def test_the_cache_of_the_server_is_off_and_the_steps_have_the_store(compiled: Compiled) -> None:
    """It finds results by path, parameters and tag: stale ones after a change of content, and none of equal content."""
    tasks = compiled[0]["root"]["dag"]["tasks"]
    assert not [name for name, task in tasks.items() if task["cachingOptions"].get("enableCache")]
    asking = {name for name, task in tasks.items() if "store" in task["inputs"]["parameters"]}
    assert asking == {"prepare", "train", "evaluate"}


def test_lost_training_or_evaluation_is_started_again(compiled: Compiled) -> None:
    for name in ("train", "evaluate"):
        assert compiled[0]["root"]["dag"]["tasks"][name]["retryPolicy"]["maxRetryCount"] == 3


def test_every_task_runs_in_the_given_image_with_the_volume(compiled: Compiled) -> None:
    pipeline, platform = compiled
    executors = pipeline["deploymentSpec"]["executors"]
    assert len(executors) == 4
    for name, executor in executors.items():
        assert executor["container"]["image"] == "{{$.inputs.parameters['pipelinechannel--image']}}"
        assert platform[name]["pvcMount"][0]["mountPath"] == "/data"
        # The image has everything: nothing is installed when a task starts.
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_every_task_knows_its_run_and_its_server(compiled: Compiled) -> None:
    """It asks whether its run is being cancelled, and its jobs carry the name of the run."""
    pipeline, platform = compiled
    for name, executor in pipeline["deploymentSpec"]["executors"].items():
        fields = {one["name"]: one["fieldPath"] for one in platform[name]["fieldPathAsEnv"]}
        assert fields == {"CODETR_RUN_ID": "metadata.labels['pipeline/runid']"}
        assert executor["container"]["env"] == [{"name": "KFP_ENDPOINT", "value": "http://ml-pipeline.kubeflow:8888"}]
        task = pipeline["root"]["dag"]["tasks"][name.removeprefix("exec-")]
        assert task["inputs"]["parameters"]["run"]["runtimeValue"]["constant"] == "{{$.pipeline_job_name}}"


def test_training_and_evaluation_get_the_requested_resources(compiled: Compiled) -> None:
    pipeline, platform = compiled
    for name, executor in pipeline["deploymentSpec"]["executors"].items():
        computes = name in ("exec-train", "exec-evaluate")
        assert ("resources" in executor["container"]) == computes
        assert ("emptyDirMounts" in platform[name]) == computes


def test_compiling_twice_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("one.yaml", "two.yaml"):
        compile_pipeline(tmp_path / name)
    assert (tmp_path / "one.yaml").read_bytes() == (tmp_path / "two.yaml").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.yaml", "two.yaml"]


def test_another_ending_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in \.yaml"):
        compile_pipeline(tmp_path / "retrain.json")
    assert list(tmp_path.iterdir()) == []


def test_secrets_are_written_as_the_library_writes_them() -> None:
    """It takes them when a pipeline is defined; here they are options of a submission."""
    given = pipeline_documents({"WANDB_API_KEY": SecretKey(secret="wandb", key="api-key")})["platform_spec"]

    @dsl.pipeline
    def with_a_secret():  # type: ignore[no-untyped-def]
        task = prepare(settings={}, store="", folder="", run="")
        kubernetes.use_secret_as_env(task, secret_name="wandb", secret_key_to_env={"api-key": "WANDB_API_KEY"})

    expected = json_format.MessageToDict(with_a_secret.platform_spec)
    executors = given["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    [one] = expected["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    assert len(executors) == 4
    assert all(executor["secretAsEnv"] == one["secretAsEnv"] for executor in executors.values())


def test_the_specification_is_valid() -> None:
    """By the definition that the server parses it with; unknown fields are errors."""
    spec = pipeline_documents()["pipeline_spec"]
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())


@pytest.mark.process
def test_the_same_pipeline_is_compiled_to_the_same_bytes(tmp_path: Path) -> None:
    """A version is named by its content; another order of keys would be another version."""
    files = []
    for seed in ("1", "2"):
        files.append(tmp_path / f"{seed}.yaml")
        command = [sys.executable, "-m", "pipelines", "compile", "-o", str(files[-1])]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True)
    assert files[0].read_bytes() == files[1].read_bytes()
