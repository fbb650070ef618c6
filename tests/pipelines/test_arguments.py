"""params.yaml becomes the pipeline's arguments, with the recipe and its changes from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from codetr.core.errors import UserError
from pipelines.arguments import step_arguments, store_argument
from tests.support.paths import ROOT

SECTIONS: dict[str, dict[str, Any]] = {
    "prepare": {"train": {"annotations": "a.json", "images": "i"}},
    "train": {"recipe": "tiny", "set": {"training.epochs": 20, "training.seed": 1}},
    "evaluate": {},
    "register": {"min_improvement": 0.1},
}


def write(path: Path, sections: object) -> Path:
    path.write_text(yaml.safe_dump(sections))
    return path


def test_sections_are_passed_on_as_they_are(tmp_path: Path) -> None:
    settings = step_arguments(write(tmp_path / "params.yaml", SECTIONS))
    assert settings == {f"{step}_settings": section for step, section in SECTIONS.items()}


def test_recipe_and_overrides_win_over_the_file(tmp_path: Path) -> None:
    params = write(tmp_path / "params.yaml", SECTIONS)
    recipe = "co_dino_5scale_r50_1x_coco"
    settings = step_arguments(params, recipe, ["training.epochs=24", "training.optimizer.lr=1e-4"])
    assert settings["train_settings"] == {
        "recipe": recipe,
        "set": {"training.epochs": 24, "training.seed": 1, "training.optimizer.lr": 1e-4},
    }


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({name: SECTIONS[name] for name in ("prepare", "evaluate", "register")}, "has no section 'train'"),
        ({**SECTIONS, "train": ["tiny"]}, "train: is a list, expected a mapping"),
        ([], "expected a mapping"),
        ({**SECTIONS, "train": {"recipe": "huge"}}, "there is no recipe 'huge'"),
        ({**SECTIONS, "train": {"recipe": "tiny", "epochs": 3}}, "train: .*unknown field 'epochs': .* under `set`"),
        ({**SECTIONS, "train": {"recipe": "tiny", "set": [1]}}, "train: set: .*valid dictionary"),
        ({**SECTIONS, "train": {"recipe": "tiny", "set": {"training.epoch": 3}}}, "'training.epoch' does not exist"),
        ({**SECTIONS, "evaluate": {"pictures": -1}}, "evaluate: pictures: .*greater than or equal to 0"),
        ({**SECTIONS, "register": {"metrics": "AP"}}, "register: metrics: .*not permitted"),
    ],
)
def test_what_cannot_work_is_an_error_before_anything_runs(tmp_path: Path, sections: object, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        step_arguments(write(tmp_path / "params.yaml", sections))


def test_an_override_without_a_value_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--set: 'training.epochs' is not of the form"):
        step_arguments(write(tmp_path / "params.yaml", SECTIONS), overrides=["training.epochs"])


def test_the_params_of_the_repository_are_usable() -> None:
    settings = step_arguments(ROOT / "params.yaml")
    assert settings["train_settings"]["recipe"]


def test_sections_of_which_everything_has_a_default_may_be_left_out(tmp_path: Path) -> None:
    sections = {name: SECTIONS[name] for name in ("prepare", "train")}
    settings = step_arguments(write(tmp_path / "params.yaml", sections))
    assert settings["evaluate_settings"] == settings["register_settings"] == {}


def test_the_store_is_an_address_that_the_tasks_understand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative folder would be another one in every task."""
    assert store_argument(None, local=False) == store_argument("", local=True) == ""
    assert store_argument("s3://models/store", local=False) == "s3://models/store"
    assert store_argument("/data/store", local=False) == "/data/store"
    monkeypatch.chdir(tmp_path)
    assert store_argument("store", local=True) == str(tmp_path / "store")
    with pytest.raises(UserError, match="--store: 'store' is relative"):
        store_argument("store", local=False)
