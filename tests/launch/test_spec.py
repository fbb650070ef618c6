"""The file of a cluster: what contradicts itself is refused before a job is created."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codetr.core.errors import UserError
from codetr.launch.spec import LaunchSpec, read_spec
from tests.support.launch.specs import IMAGE, cluster
from tests.support.paths import ROOT

ON_CLUSTER = {"launcher": "trainjob", "image": IMAGE}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "several nodes on one machine": ({"launcher": "local", "nodes": 2}, "nodes: this machine is one node"),
    "no image": ({"launcher": "trainjob"}, "image: a TrainJob needs the image"),
    "an image that may change": ({"launcher": "trainjob", "image": "r.example:5000/codetr"}, "names no fixed version"),
    "the tag latest": ({"launcher": "trainjob", "image": "codetr:latest"}, "names no fixed version"),
    "an image with a space": ({"launcher": "trainjob", "image": "codetr:1 --privileged"}, "image"),
    "fewer processes than GPUs": ({**ON_CLUSTER, "resources": {"accelerators": 8}}, "one process for each accelerator"),
    "a fabric without adapters": ({**ON_CLUSTER, "network": {"profile": "efa"}}, "rdma_devices"),
    "adapters without a fabric": ({**ON_CLUSTER, "network": {"rdma_devices": 1}}, "rdma_devices"),
    "a quantity in words": ({**ON_CLUSTER, "resources": {"memory": "64 GB"}}, "resources.memory"),
    "a relative mount path": ({**ON_CLUSTER, "volumes": [{"claim": "a", "path": "data"}]}, "volumes.0.path"),
    "two volumes at one path": (
        {**ON_CLUSTER, "volumes": [{"claim": "a", "path": "/d"}, {"claim": "b", "path": "/d"}]},
        "mounted at the same path",
    ),
    "a variable twice": (
        {**ON_CLUSTER, "environment": {"KEY": "a"}, "secrets": {"KEY": {"secret": "s", "key": "k"}}},
        "KEY is also in",
    ),
    "a pod's setting on Slurm": ({"launcher": "slurm", "image": IMAGE}, "image: Slurm has nothing of the kind"),
    "Slurm's setting in a pod": ({**ON_CLUSTER, "slurm": {"qos": "high"}}, "slurm: the launcher is 'trainjob'"),
    "an option of sbatch that the launcher sets": (
        {"launcher": "slurm", "slurm": {"options": {"time": "1"}}},
        "'time' follows from other settings",
    ),
    "a line break in a line": ({"launcher": "slurm", "slurm": {"setup": ["a\nb"]}}, "slurm.setup.0"),
    "an unknown field": ({**ON_CLUSTER, "gpus": 8}, "gpus"),
    "no restart at all, and less": ({**ON_CLUSTER, "budget": {"restarts": -1}}, "budget.restarts"),
    "no end": ({**ON_CLUSTER, "budget": {"hours": float("inf")}}, "budget.hours"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_contradicts_itself_is_refused_with_its_path(case: str) -> None:
    values, named = REFUSED[case]
    with pytest.raises(UserError, match=named.replace(".", r"\.")):
        LaunchSpec.parse(values)


@pytest.mark.parametrize(
    "image", [IMAGE, "codetr:0.1.0", "r.example:5000/team/codetr:0.1.0", f"codetr:1@{IMAGE[-71:]}"]
)
def test_images_of_a_fixed_version_are_accepted(image: str) -> None:
    assert LaunchSpec.parse({"launcher": "trainjob", "image": image}).image == image


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines/clusters").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_clusters_of_the_repository_are_valid(path: Path) -> None:
    """A new user copies one of them."""
    assert read_spec(str(path)).launcher == path.stem


def test_names_are_found_from_every_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those of the current folder go first."""
    monkeypatch.chdir(tmp_path)
    assert read_spec("trainjob").nodes == 2
    folder = tmp_path / "pipelines/clusters"
    folder.mkdir(parents=True)
    (folder / "trainjob.yaml").write_text(f"{{launcher: trainjob, nodes: 7, image: '{IMAGE}'}}")
    assert read_spec("trainjob").nodes == 7


def test_an_unknown_cluster_lists_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=r"Did you mean 'trainjob'.*Clusters: local.*trainjob"):
        read_spec("trainjobs")


def test_a_spec_travels_as_json() -> None:
    """The image of a pipeline's task does not contain the folder of clusters."""
    spec = cluster(nodes=3, secrets={"KEY": {"secret": "wandb", "key": "key"}})
    assert read_spec(json.dumps(spec.model_dump(mode="json", exclude_defaults=True))) == spec
    with pytest.raises(UserError, match=r"--on: .*nodes"):
        read_spec('{"launcher": "trainjob", "image": "codetr:1", "nodes": 0}')
