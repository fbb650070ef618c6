"""The DAG in Airflow itself: how it is loaded, which command it runs, and what it does when that fails."""

from __future__ import annotations

import ast
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codetr.core.exit_codes import ExitCode
from tests.support.paths import ROOT
from tests.support.pipelines.airflow import Airflow
from tests.support.pipelines.exit_codes import AIRFLOW_ENDS

DAG = ROOT / "dags/retrain.py"


def command(path: Path, script: str) -> str:
    """Write an executable to `path`, to use as the project's interpreter."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_it_needs_nothing_but_airflow() -> None:
    """Airflow's environment has neither codetr nor kfp nor torch."""
    nodes = list(ast.walk(ast.parse(DAG.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"airflow"}


def test_its_exit_codes_are_those_of_codetr() -> None:
    """The DAG has a copy, which would otherwise keep an old meaning."""
    statements = ast.parse(DAG.read_text()).body
    [copy] = [node for node in statements if isinstance(node, ast.ClassDef) and node.name == "ExitCode"]
    members = {ast.unparse(node) for node in copy.body if isinstance(node, ast.Assign)}
    assert members == {f"{code.name} = {code.value}" for code in ExitCode}


def test_every_exit_code_retries_or_fails_the_task(airflow: Airflow) -> None:
    """A mistake that is retried costs hours; a full disk or a preemption that is not retried ends the schedule."""
    script = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from retrain import raise_for_exit_code\n"
        "ends = {}\n"
        "for code in json.loads(sys.argv[2]):\n"
        "    try: ends[code] = raise_for_exit_code(code, 'Error: the reason')\n"
        "    except Exception as error: ends[code] = type(error).__name__\n"
        "print(json.dumps(ends))"
    )
    command = [str(airflow.program.with_name("python")), "-c", script, str(DAG.parent), json.dumps(list(AIRFLOW_ENDS))]
    result = subprocess.run(command, env=airflow.environment(), capture_output=True, text=True, check=True)
    assert json.loads(result.stdout.splitlines()[-1]) == {str(code): end for code, end in AIRFLOW_ENDS.items()}


FIRST_RUN = """
import sys
from datetime import datetime, timezone
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
dag = DagSerialization.from_dict(DagSerialization.to_dict(DagBag(sys.argv[1]).dags["codetr_retrain"]))
run = dag.next_dagrun_info(last_automated_run_info=None)
print("first run in the future:", run.run_after > datetime.now(timezone.utc))
"""


def test_unpausing_does_not_start_the_run_of_last_week(airflow: Airflow) -> None:
    """It would train at once, on whatever day the DAG is installed."""
    command = [str(airflow.program.with_name("python")), "-c", FIRST_RUN, str(DAG)]
    result = subprocess.run(command, env=airflow.environment(), capture_output=True, text=True, check=False)
    assert "first run in the future: True" in result.stdout, result.stdout + result.stderr


WRONG_SETTINGS = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from retrain import PipelineOperator
os.environ |= {f"AIRFLOW_VAR_CODETR_{name}": value for name, value in json.loads(sys.argv[2]).items()}
for engine in ("spark", "local"):
    os.environ["AIRFLOW_VAR_CODETR_ENGINE"] = engine
    task = PipelineOperator(task_id="run_pipeline")
    task.on_kill()
    try:
        params = {"params": "p", "processes": 1, "recipe": None, "overrides": [], "output": "o", "registry": "r"}
        params["store"] = None
        task.execute({"run_id": "test", "params": params})
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_a_wrong_installation_fails_the_task_without_a_retry(airflow: Airflow, tmp_path: Path) -> None:
    """Retries would fail in the same way, every five minutes. A task that is cleared early has no process to stop."""
    settings = json.dumps({"PYTHON": str(tmp_path / "python"), "PROJECT": str(tmp_path)})
    command = [str(airflow.program.with_name("python")), "-c", WRONG_SETTINGS, str(DAG.parent), settings]
    result = subprocess.run(command, env=airflow.environment(), capture_output=True, text=True, check=True)
    lines = [line for line in result.stdout.splitlines() if line.startswith("Airflow")]
    assert lines == [
        "AirflowFailException CODETR_ENGINE is 'spark', expected 'local' or 'kubeflow'",
        f"AirflowFailException CODETR_PYTHON: there is no interpreter {tmp_path}/python",
    ]


def test_it_loads_with_its_schedule(airflow: Airflow) -> None:
    result = airflow.run("dags", "list", "--local", "-o", "json", "--columns", "dag_id,timetable_summary,description")
    [listed] = [line for line in result.stdout.splitlines() if line.startswith("[{")]
    [dag] = json.loads(listed)
    assert dag["dag_id"] == "codetr_retrain"
    assert dag["timetable_summary"] == "0 2 * * 0"
    assert dag["description"].startswith("Prepare, train, evaluate and register"), "what the list of DAGs shows"


def test_parameters_become_the_commands_arguments(airflow: Airflow, tmp_path: Path) -> None:
    """As they are, without a shell between: a value with spaces or a semicolon stays one argument."""
    record = tmp_path / "arguments"
    script = f'for word in "$@"; do echo "$word" >> {record}; done; pwd >> {record}; echo "Error: no recipe"; exit 2'
    given = {"recipe": "tiny; rm -rf /", "overrides": ["training.epochs=2", "a=b c"], "processes": 2}
    result = airflow.run_retraining(
        given,
        CODETR_PYTHON=command(tmp_path / "python", script),
        CODETR_PROJECT=str(tmp_path),
    )
    assert record.read_text().splitlines() == [
        *("-m", "pipelines", "run-local", "--output", "outputs/pipeline", "--registry", "outputs/registry"),
        *("--params", "params.yaml", "--nproc", "2", "--recipe", "tiny; rm -rf /"),
        *("--set", "training.epochs=2", "--set", "a=b c"),
        str(tmp_path),
    ]
    # Exit code 2 is a mistake, with the reason in the last line: a retry would fail again.
    assert "AirflowFailException: Error: no recipe" in result.stdout + result.stderr
    assert "UP_FOR_RETRY" not in result.stdout + result.stderr


def test_on_kubeflow_the_same_run_is_found_again_by_its_name(airflow: Airflow, tmp_path: Path) -> None:
    record = tmp_path / "arguments"
    given = {"namespace": "team", "accelerators": 8, "processes": 8, "cpu": "32", "memory": "200Gi"}
    defaults = {"image": "r.example/codetr@sha256:0", "volume": "coco", "memory": "64Gi", "store": "s3://a/b"}
    result = airflow.run_retraining(
        given,
        CODETR_PYTHON=command(tmp_path / "python", f'echo "$@" > {record}'),
        CODETR_PROJECT=str(tmp_path),
        CODETR_ENGINE="kubeflow",
        CODETR_DEFAULTS=json.dumps(defaults),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    words = record.read_text().split()
    assert words[:5] == ["-m", "pipelines", "submit", "--wait", "--run-name"]
    assert words[5].startswith("airflow-manual__")
    options = dict(zip(words[6::2], words[7::2], strict=True))
    expected = {name: str(value) for name, value in {**defaults, **given}.items()}
    expected["nproc"] = expected.pop("processes")
    assert options == {f"--{name}": value for name, value in {**expected, "params": "params.yaml"}.items()}


def test_a_task_that_is_killed_takes_the_pipeline_with_it(airflow: Airflow, tmp_path: Path) -> None:
    """Otherwise an unknown training would go on, here or on the server, beside the next one."""
    started, stopped, ended = tmp_path / "started", tmp_path / "stopped", tmp_path / "ended"
    script = (
        f'if [ "$3" = cancel ]; then echo "$@" > {ended}.new; mv {ended}.new {ended}; exit 0; fi\n'
        f"trap 'touch {stopped}; exit 75' TERM; echo \"$6\" > {started}; while true; do sleep 0.1; done"
    )
    environment = airflow.environment(
        CODETR_PYTHON=command(tmp_path / "python", script), CODETR_PROJECT=str(tmp_path), CODETR_ENGINE="kubeflow"
    )
    words = [str(airflow.program), "dags", "test", "codetr_retrain"]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(started, 120)
        process.send_signal(signal.SIGTERM)
        wait_for(stopped, 60)
        wait_for(ended, 60)
        assert ended.read_text().split()[2:4] == ["cancel", started.read_text().strip()]
    finally:
        process.kill()
        process.wait()


def wait_for(path: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > deadline:
            pytest.fail(f"{path.name} did not appear within {seconds} s")
        time.sleep(0.1)
