"""Every step has a component, and its interface is what the pipeline and a person in the UI see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.evaluate.component import evaluate
from components.prepare.component import prepare
from components.register.component import register
from components.train.component import train
from tests.support.paths import ROOT

COMPONENTS = {"prepare": prepare, "train": train, "evaluate": evaluate, "register": register}

INTERFACES = {
    "prepare": ({"settings", "store"}, {"dataset"}),
    "train": ({"settings", "store", "checkpoints", "processes", "dataset"}, {"model"}),
    "evaluate": (
        {"settings", "store", "processes", "registry", "model", "dataset"},
        {"evaluation", "metrics", "report"},
    ),
    "register": ({"settings", "registry", "model", "evaluation"}, {"registration"}),
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
        "store": "",
        "checkpoints": "c",
        "processes": 1,
        "registry": "r",
    }
    arguments = {key: value for key, value in values.items() if key in inputs}
    with pytest.raises(SystemExit) as stopped:
        COMPONENTS[name].python_func(**arguments, **artifacts)
    assert stopped.value.code == 2
    assert "no_such_setting" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
