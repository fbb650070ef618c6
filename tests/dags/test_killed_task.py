"""A task of Airflow that is killed takes the pipeline with it, whenever that happens."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from codetr.core.system.parent_watch import PARENT_VARIABLE
from tests.support.paths import ROOT
from tests.support.pipelines.airflow import airflow_environment, airflow_program
from tests.support.pipelines.airflow_tasks import task_server
from tests.support.pipelines.run_local import ENVIRONMENT, drawn_params
from tests.support.process_trees import ProcessTree, left_after_kills

DAG = ROOT / "dags/retrain.py"


def test_the_dag_and_codetr_agree_on_the_variable() -> None:
    """The DAG cannot import it: Airflow's environment has no codetr."""
    assert f'"{PARENT_VARIABLE}": str(os.getpid())' in DAG.read_text()


@pytest.mark.process
def test_the_pipeline_ends(tmp_path: Path) -> None:
    """SIGKILL, of the system that runs out of memory, say, leaves the task no time to stop what it started.

    The moments are those until the pipeline starts its first task; tests/pipelines kills later ones.
    """
    params = drawn_params(tmp_path, 10)
    variables = {
        f"AIRFLOW_VAR_CODETR_{name}": value
        for name, value in {"PYTHON": sys.executable, "PROJECT": str(tmp_path), "ENGINE": "local"}.items()
    }
    environment = airflow_environment(tmp_path / "airflow", **ENVIRONMENT, **variables)
    with task_server(airflow_program().with_name("python"), DAG, **environment) as server:

        def start(folder: Path) -> ProcessTree:
            given: dict[str, Any] = {
                "params": str(params),
                "recipe": None,
                "overrides": [],
                "processes": 1,
                "store": None,
            }
            folders = {"output": str(folder / "output"), "registry": str(folder / "registry")}
            return ProcessTree(partial(server.start, given | folders), log=folder / "log.txt")

        assert left_after_kills(start, lambda folder: (folder / "output").exists(), tmp_path) == []
