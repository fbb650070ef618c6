"""The same input and seed give the same result by `dvc repro`, as a Kubeflow pipeline, and through Airflow.

Every engine really runs all four steps, in a copy of the repository, on a drawn dataset and a very small recipe.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from codetr.core.manifest import FolderKind, Manifest
from codetr.data.synthetic import draw_sample_data
from tests.support.paths import ROOT
from tests.support.pipelines.airflow import Airflow

FOLDERS: tuple[FolderKind, ...] = ("dataset", "model", "evaluation")
SMALL = {
    "training.epochs": 1,
    "training.threads": 1,
    "training.schedule.milestones": [],
    "preprocess.short_side": 64,
    "preprocess.long_side": 96,
    "augment.short_sides": [64],
    "augment.long_side": 96,
    "model.query.transformer.encoder_layers": 1,
    "model.query.transformer.decoder_layers": 1,
    "loader.batch_size": 2,
    "loader.workers": 0,
}
"""What differs from the recipe `tiny`: seconds instead of minutes."""


def run(folder: Path, *command: str) -> str:
    """Run a command in the copy, with this interpreter; returns what it printed."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "WANDB_MODE": "disabled",
    }
    result = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def change(folder: Path, **settings: Any) -> None:
    """Change what the recipe is trained with."""
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["train"]["set"].update(settings)
    path.write_text(yaml.safe_dump(params))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with data and a small recipe."""
    folder = tmp_path_factory.mktemp("engines") / "project"
    folder.mkdir()
    for name in ("codetr", "components", "pipelines"):
        # With what is compiled, but not what another process is compiling.
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc.*"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
    run(folder, "git", "init", "--quiet")
    draw_sample_data(folder / "data/sample", 10, seed=5)
    change(folder, **SMALL)
    return folder


@pytest.fixture(scope="module")
def reproduced(project: Path) -> dict[FolderKind, Path]:
    """The folders after `dvc repro`."""
    run(project, "dvc", "repro")
    return {kind: project / "outputs" / kind for kind in FOLDERS}


@pytest.fixture(scope="module")
def piped(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[FolderKind, Path]:
    """The folders after a local run of the Kubeflow pipeline, which Airflow starts."""
    airflow = Airflow(tmp_path_factory.mktemp("airflow"))
    given = {"output": "outputs/kfp", "registry": "outputs/other"}
    result = airflow.run_retraining(
        given,
        CODETR_PYTHON=sys.executable,
        CODETR_PROJECT=str(project),
        WANDB_MODE="disabled",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return finished(project / "outputs/kfp/run.json")


def results(folders: dict[FolderKind, Path]) -> dict[str, Any]:
    """What must not depend on the engine: the weights, the metrics, and the identity of every folder."""
    manifests = {kind: Manifest.read(folders[kind], kind, verify=True) for kind in FOLDERS}
    return {
        "weights": manifests["model"].files["model.safetensors"],
        "metrics": (folders["evaluation"] / "metrics.json").read_text(),
        **{kind: manifest.digest for kind, manifest in manifests.items()},
    }


def finished(run_file: Path) -> dict[FolderKind, Path]:
    """The folders that a local run of the pipeline lists."""
    listed = json.loads(run_file.read_text())["folders"]
    return {kind: Path(listed[kind]) for kind in FOLDERS}


def test_the_kubeflow_pipeline_through_airflow_gives_what_dvc_gives(
    reproduced: dict[FolderKind, Path], piped: dict[FolderKind, Path]
) -> None:
    """Airflow starts `python -m pipelines run-local`, so one run shows both."""
    assert results(piped) == results(reproduced)


def test_what_one_engine_registered_is_no_new_version_to_another(
    project: Path, reproduced: dict[FolderKind, Path], piped: dict[FolderKind, Path]
) -> None:
    before = sorted((project / "outputs/registry/versions").iterdir())
    assert len(before) == 1
    words = ["--model", str(piped["model"]), "--evaluation", str(piped["evaluation"])]
    run(
        project,
        *(sys.executable, "-m", "codetr", "register", *words),
        *("--registry", "outputs/registry", "--output", "outputs/again"),
    )
    assert sorted((project / "outputs/registry/versions").iterdir()) == before


def test_metrics_and_plots_are_known_to_dvc(project: Path, reproduced: dict[FolderKind, Path]) -> None:
    shown = json.loads(run(project, "dvc", "metrics", "show", "--json"))
    metrics = shown[""]["data"]["outputs/evaluation/metrics.json"]["data"]
    assert {"AP", "AP50", "AR100"} <= metrics.keys()
    plots = json.loads(run(project, "dvc", "plots", "show", "--json", "--split"))
    assert "precision over recall" in json.dumps(plots)


def test_a_second_repro_does_nothing_and_a_training_parameter_reruns_from_train(
    project: Path, reproduced: dict[FolderKind, Path]
) -> None:
    """Last, because it changes what the others compare."""
    assert "Running stage" not in run(project, "dvc", "repro")
    before = results(reproduced)
    change(project, **{"training.seed": 1})
    output = run(project, "dvc", "repro")
    ran = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
    assert ran == ["train", "evaluate", "register"]
    after = results(reproduced)
    assert after["dataset"] == before["dataset"]
    assert after["weights"] != before["weights"]
