"""`--cluster` of `submit` and `run-local`: what is checked before anything starts, and what the tasks get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from codetr.core.errors import UserError
from pipelines.launching import LAUNCHER, launcher_resources, read_cluster, require_volume
from pipelines.options import Resources
from tests.pipelines.test_main import run
from tests.support.launch.specs import IMAGE
from tests.support.paths import ROOT
from tests.support.pipelines.kfp_server import PipelineServer
from tests.support.pipelines.params import server_params

PATHS = {"--checkpoints": "/data/checkpoints/night", "--runs": "/data/runs/night", "--registry": "/data/registry"}


def written(folder: Path, **settings: Any) -> str:
    """Write a cluster's file, and return its path."""
    volumes = [{"claim": "codetr-data", "path": "/data"}]
    spec = {"launcher": "trainjob", "nodes": 2, "image": IMAGE, "volumes": volumes, **settings}
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(spec))
    return str(path)


def test_a_sound_cluster_is_accepted(tmp_path: Path) -> None:
    name = written(tmp_path)
    spec = read_cluster(name, {"recipe": "tiny"}, PATHS)
    require_volume(spec, name, claim="codetr-data", path="/data")
    assert spec.nodes == 2


@pytest.mark.parametrize(
    ("settings", "train", "paths", "message"),
    [
        ({"image": "codetr:latest"}, {}, {}, "names no fixed version"),
        ({}, {}, {"--registry": "outputs/registry"}, "--registry: 'outputs/registry' is relative"),
        ({}, {}, {"--registry": "/mnt/registry"}, "--registry: '/mnt/registry' is on no volume of the jobs"),
        ({}, {"init_from": "outputs/model"}, {}, "init_from: 'outputs/model' is relative"),
        ({}, {"init_from": "/models/best"}, {}, "init_from: '/models/best' is on no volume"),
        ({"volumes": []}, {}, {}, r"on no volume.*\(none\)"),
    ],
)
def test_what_a_job_could_not_use_is_refused(
    tmp_path: Path, settings: dict[str, Any], train: dict[str, Any], paths: dict[str, str], message: str
) -> None:
    """It would fail after hours in the queue."""
    with pytest.raises(UserError, match=message):
        read_cluster(written(tmp_path, **settings), {"recipe": "tiny", "set": train}, {**PATHS, **paths})


@pytest.mark.parametrize(
    "volume",
    [
        {"claim": "codetr-data", "path": "/mnt"},
        {"claim": "other", "path": "/data"},
        {"claim": "codetr-data", "path": "/data", "read_only": True},
    ],
)
def test_jobs_and_tasks_share_a_volume(tmp_path: Path, volume: dict[str, Any]) -> None:
    """Else the job finds no dataset, or the next task no model."""
    name = written(tmp_path, volumes=[volume, {"claim": "all", "path": "/"}])
    with pytest.raises(UserError, match="cannot write to the volume codetr-data"):
        require_volume(read_cluster(name, {"recipe": "tiny"}, PATHS), name, claim="codetr-data", path="/data")


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_tasks_of_a_server_reach_no_other_launcher(name: str) -> None:
    spec = read_cluster(name, {"recipe": "tiny"}, PATHS)
    with pytest.raises(UserError, match=f"is '{name}', not 'trainjob'"):
        require_volume(spec, name, claim="codetr-data", path="/data")


def test_a_task_that_follows_a_job_asks_for_little() -> None:
    assert launcher_resources(Resources()) == LAUNCHER
    for asked in (Resources(accelerators=8), Resources(processes=2), Resources(memory="64Gi")):
        with pytest.raises(UserError, match="--accelerators"):
            launcher_resources(asked)


def test_submitting_with_a_cluster(server: PipelineServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole spec travels as a value: the image of the tasks does not contain the folder of clusters."""
    server.first_state = "FAILED"
    monkeypatch.chdir(ROOT)
    options = ["--endpoint", server.endpoint, "--run-name", "night", "--image", IMAGE]
    options += ["--params", str(server_params(tmp_path))]
    assert run(monkeypatch, "submit", *options, "--cluster", written(tmp_path)) == 0
    given = server.runs[0]["runtime_config"]["parameters"]
    assert given["cluster"] == yaml.safe_load(Path(written(tmp_path)).read_text())
    assert given["folder"] == "/data/runs/night"
    assert (given["cpu"], given["memory"], given["accelerators"]) == ("1", "2Gi", 0)
    assert run(monkeypatch, "submit", *options, "--cluster", written(tmp_path), "--accelerators", "8") == 2
    assert len(server.runs) == 1


def test_the_processes_of_a_local_run_are_the_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert run(monkeypatch, "run-local", "--cluster", "local", "--nproc", "2") == 2
