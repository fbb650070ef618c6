"""Every step has a component, and its interface is what the pipeline and a person in the UI see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from codetr.core.manifest import Manifest
from codetr.steps.artifacts import folder_of
from components.evaluate.component import evaluate
from components.prepare.component import prepare
from components.register.component import register
from components.train.component import train
from tests.support.launch.kubernetes_server import kubernetes_server
from tests.support.launch.specs import cluster
from tests.support.paths import ROOT
from tests.support.registry.registry_folders import MakeCandidate

COMPONENTS = {"prepare": prepare, "train": train, "evaluate": evaluate, "register": register}

INTERFACES = {
    "prepare": ({"settings", "store", "folder", "run"}, {"dataset"}),
    "train": (
        {"settings", "store", "checkpoints", "processes", "cluster", "folder", "run", "dataset"},
        {"model"},
    ),
    "evaluate": (
        {"settings", "store", "processes", "registry", "cluster", "folder", "run", "model", "dataset"},
        {"evaluation", "metrics", "report"},
    ),
    "register": ({"settings", "registry", "run", "model", "evaluation"}, {"registration"}),
}


def test_every_folder_is_a_component() -> None:
    folders = {path.parent.name for path in (ROOT / "components").glob("*/component.py")}
    assert folders == set(COMPONENTS)


@pytest.mark.parametrize("name", COMPONENTS)
def test_interface(name: str) -> None:
    specification = COMPONENTS[name].component_spec
    inputs, outputs = INTERFACES[name]
    assert specification.name == name
    assert set(specification.inputs or {}) == inputs
    assert set(specification.outputs or {}) == outputs


@pytest.mark.parametrize("name", COMPONENTS)
def test_the_component_and_every_input_are_described(name: str) -> None:
    """The UI shows these texts beside the fields."""
    specification = COMPONENTS[name].component_spec
    assert specification.description
    for key, field in specification.inputs.items():
        assert field.description, f"{key} is not described"


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_step_that_fails_fails_the_task_with_its_exit_code(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The body runs unchanged: a mistake in the settings is the step's message, and no output appears."""
    inputs, outputs = INTERFACES[name]
    artifacts = {key: dsl.Artifact(uri=str(tmp_path / key)) for key in inputs & {"dataset", "model", "evaluation"}}
    for artifact in artifacts.values():
        Path(artifact.path).mkdir()
    artifacts |= {key: dsl.Artifact(uri=str(tmp_path / "out" / key)) for key in outputs}
    values: dict[str, Any] = {
        "settings": {"no_such_setting": 1},
        **{
            "checkpoints": "c",
            "processes": 1,
            "registry": "r",
            "cluster": {},
            "folder": "",
            "run": "night",
            "store": "",
        },
    }
    arguments = {key: value for key, value in values.items() if key in inputs}
    with pytest.raises(SystemExit) as stopped:
        COMPONENTS[name].python_func(**arguments, **artifacts)
    assert stopped.value.code == 2
    assert "no_such_setting" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.process
@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_a_task_with_a_cluster_starts_a_job_that_works_on_the_shared_volume(
    name: str, make_candidate: MakeCandidate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pods of the job see neither the task's files nor the storage of artifacts."""
    candidate = make_candidate()
    folder = tmp_path / "volume"
    folder.mkdir()
    candidate.model.rename(folder / "model")
    candidate.evaluation.rename(folder / "evaluation")
    (folder / "evaluation/report.html").touch()
    (tmp_path / "out").mkdir()
    inputs, outputs = INTERFACES[name]
    artifacts: dict[str, Any] = {
        key: dsl.Artifact(uri="minio://bucket/manifest", metadata={"folder": str(folder / key)})
        for key in inputs & {"dataset", "model"}
    }
    artifacts |= {key: dsl.Artifact(uri=str(tmp_path / "out" / key)) for key in outputs}
    artifacts["metrics"] = dsl.Metrics(uri=str(tmp_path / "out/metrics"))
    artifacts = {key: value for key, value in artifacts.items() if key in inputs | outputs}
    spec = cluster(nodes=3).model_dump(mode="json", exclude_defaults=True)
    values = {"checkpoints": str(folder / "checkpoints"), "processes": 1, "registry": str(folder / "registry")}
    values |= {"cluster": spec, "folder": str(folder), "run": "night", "store": ""}
    values = {key: value for key, value in values.items() if key in inputs}
    settings = {"recipe": "tiny"} if name == "train" else {}
    with kubernetes_server() as server:
        (tmp_path / "kubeconfig").write_text(server.kubeconfig())
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        thread = server.play(exit_code=0)
        COMPONENTS[name].python_func(settings=settings, **values, **artifacts)
        thread.join()
        [job] = server.jobs.values()
    output = folder / ("model" if name == "train" else "evaluation")
    arguments = job["spec"]["trainer"]["args"]
    assert arguments[arguments.index("--output") + 1] == str(output)
    assert arguments[arguments.index("--dataset") + 1] == str(folder / "dataset")
    assert job["spec"]["trainer"]["numNodes"] == 3
    assert job["metadata"]["labels"]["codetr.dev/run"] == "night"
    written = artifacts["model" if name == "train" else "evaluation"]
    assert folder_of(written) == str(output)
    assert [path.name for path in Path(written.path).iterdir()] == ["manifest.json"], "all of it would be uploaded"
    assert written.metadata["digest"] == Manifest.read(output, "model" if name == "train" else "evaluation").digest
