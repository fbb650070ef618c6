"""The DAG in Airflow itself: how it is loaded, which command it runs, and what becomes of failures."""

import ast
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.airflow import ROOT, Airflow

DAG = ROOT / "dags/retrain.py"


def command(path: Path, script: str) -> str:
    """An executable at `path`, to stand where the project's interpreter stands."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_it_needs_nothing_but_airflow() -> None:
    """Airflow's environment has neither codetr nor kfp nor torch."""
    nodes = list(ast.walk(ast.parse(DAG.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"airflow"}


def test_it_loads_with_its_schedule(airflow: Airflow) -> None:
    result = airflow.run("dags", "list", "--local", "-o", "json", "--columns", "dag_id,timetable_summary")
    [listed] = [line for line in result.stdout.splitlines() if line.startswith("[{")]
    [dag] = json.loads(listed)
    assert dag["dag_id"] == "codetr_retrain"
    assert dag["timetable_summary"] == "0 2 * * 0"


def test_parameters_become_the_commands_arguments(airflow: Airflow, tmp_path: Path) -> None:
    """As they are, without a shell between: a value with spaces or a semicolon stays one argument."""
    record = tmp_path / "arguments"
    script = f'for word in "$@"; do echo "$word" >> {record}; done; pwd >> {record}; exit 2'
    given = {"recipe": "tiny; rm -rf /", "overrides": ["training.epochs=2", "a=b c"], "processes": 2}
    result = airflow.run(
        "dags",
        "test",
        "codetr_retrain",
        "--conf",
        json.dumps(given),
        CODETR_PYTHON=command(tmp_path / "python", script),
        CODETR_PROJECT=str(tmp_path),
    )
    assert record.read_text().splitlines() == [
        *("-m", "pipelines", "run-local", "--output", "outputs/pipeline", "--registry", "outputs/registry"),
        *("--params", "params.yaml", "--nproc", "2", "--recipe", "tiny; rm -rf /"),
        *("--set", "training.epochs=2", "--set", "a=b c"),
        str(tmp_path),
    ]
    # Exit code 2 is a mistake in the settings: trying again would not mend it.
    assert "The settings are wrong" in result.stdout + result.stderr
    assert "UP_FOR_RETRY" not in result.stdout + result.stderr


def test_on_kubeflow_the_same_run_is_found_again_by_its_name(airflow: Airflow, tmp_path: Path) -> None:
    record = tmp_path / "arguments"
    result = airflow.run(
        "dags",
        "test",
        "codetr_retrain",
        CODETR_PYTHON=command(tmp_path / "python", f'echo "$@" > {record}'),
        CODETR_PROJECT=str(tmp_path),
        CODETR_ENGINE="kubeflow",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    words = record.read_text().split()
    assert words[:5] == ["-m", "pipelines", "submit", "--wait", "--run-name"]
    assert words[5].startswith("airflow-manual__")


def test_a_task_that_is_killed_takes_the_pipeline_with_it(airflow: Airflow, tmp_path: Path) -> None:
    """Otherwise a training nobody knows of would go on, and hold the checkpoints of the next."""
    started, stopped = tmp_path / "started", tmp_path / "stopped"
    script = f"trap 'touch {stopped}; exit 75' TERM; touch {started}; while true; do sleep 0.1; done"
    environment = airflow.environment(CODETR_PYTHON=command(tmp_path / "python", script), CODETR_PROJECT=str(tmp_path))
    words = [airflow.program, "dags", "test", "codetr_retrain"]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(started, 120)
        process.send_signal(signal.SIGTERM)
        wait_for(stopped, 60)
    finally:
        process.kill()
        process.wait()


def wait_for(path: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > deadline:
            pytest.fail(f"{path.name} did not appear within {seconds} s")
        time.sleep(0.1)
