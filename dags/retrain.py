"""Retraining on a schedule: the DAG `codetr_retrain`.

Airflow decides when, and shows how it went; the pipeline does the work, as a command of codetr's own environment.
So this file needs nothing but Airflow, and a step behaves here as it does anywhere else.

Where things are comes from the environment of the scheduler (or the Airflow Variables of the same names, which win):
    CODETR_PROJECT  the repository's root; by default the folder above this one
    CODETR_PYTHON   codetr's interpreter; by default .venv/bin/python in the project
    CODETR_ENGINE   "local" runs the pipeline on this machine, "kubeflow" on the server KFP_ENDPOINT names
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import BaseOperator, Context, Param, Variable, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

MISTAKE = 2
"""Exit code for a mistake that trying again does not mend."""


def place(name: str, default: str) -> str:
    """A setting of this installation: an Airflow Variable, else the environment, else the default."""
    return Variable.get(name, default=os.environ.get(name, default))


def project() -> Path:
    """The repository's root."""
    return Path(place("CODETR_PROJECT", str(Path(__file__).resolve().parents[1])))


def pipeline_command(engine: str, run_name: str, params: dict[str, Any]) -> list[str]:
    """The command that runs the pipeline and ends when it does."""
    command = [place("CODETR_PYTHON", str(project() / ".venv/bin/python")), "-m", "pipelines"]
    if engine == "kubeflow":
        # A task that is tried again finds the run of this name instead of starting a second one.
        command += ["submit", "--wait", "--run-name", run_name]
    else:
        command += ["run-local", "--output", params["output"], "--registry", params["registry"]]
    command += ["--params", params["params"], "--nproc", str(params["processes"])]
    if params["recipe"]:
        command += ["--recipe", params["recipe"]]
    for override in params["overrides"]:
        command += ["--set", override]
    return command


class PipelineOperator(BaseOperator):
    """Runs the pipeline to its end; what it prints is the task's log."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.process = SubprocessHook()

    def execute(self, context: Context) -> str:
        """Run it; returns the engine it ran on.

        Raises:
            AirflowFailException: a mistake in the settings, here or in what they are about; not tried again.
            AirflowException: the pipeline failed otherwise.
        """
        engine = place("CODETR_ENGINE", "local")
        if engine not in ("local", "kubeflow"):
            raise AirflowFailException(f"CODETR_ENGINE is '{engine}', expected 'local' or 'kubeflow'")
        command = pipeline_command(engine, f"airflow-{context['run_id']}", dict(context["params"]))
        if not Path(command[0]).is_file():
            raise AirflowFailException(f"CODETR_PYTHON: there is no interpreter {command[0]}")
        # If this process is killed, the pipeline ends: training saves a checkpoint first.
        environment = {**os.environ, "CODETR_PARENT": str(os.getpid())}
        code = self.process.run_command(command, env=environment, cwd=str(project())).exit_code
        if code == MISTAKE:
            raise AirflowFailException("The settings are wrong; the log says where.")
        if code != 0:
            raise AirflowException(f"The pipeline ended with exit code {code}; the log says why.")
        return engine

    def on_kill(self) -> None:
        """Pass on that the task was cleared or marked as failed: training saves a checkpoint and ends."""
        process = self.process.sub_process
        if process is not None and process.poll() is None:
            self.process.send_sigterm()


@dag(
    dag_id="codetr_retrain",
    schedule="0 2 * * 0",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    # Two trainings at once would share one machine's cores, and one folder of checkpoints.
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["codetr"],
    doc_md=__doc__,
    params={
        "params": Param("params.yaml", type="string", description="Settings of the steps, relative to the project."),
        "recipe": Param(None, type=["null", "string"], description="A recipe other than the file's."),
        "overrides": Param([], type="array", items={"type": "string"}, description="Changes to it: path=value."),
        "processes": Param(1, type="integer", minimum=1, description="Processes of training and evaluation."),
        "output": Param("outputs/pipeline", type="string", description="Local runs: where a run leaves its folders."),
        "registry": Param("outputs/registry", type="string", description="Local runs: the registry."),
    },
)
def codetr_retrain() -> None:
    """Prepare, train, evaluate and register, every Sunday at two."""

    @task
    def verdict(engine: str) -> dict[str, Any]:
        """What the run came to: metrics, and whether there is a new champion."""
        if engine == "kubeflow":
            # The folders are with the server, and so is the page that shows them.
            return {"engine": engine}
        context = get_current_context()
        run = json.loads((project() / context["params"]["output"] / "run.json").read_text(encoding="utf-8"))
        print(json.dumps(run, indent=2))
        return {"engine": engine, **run}

    run = PipelineOperator(task_id="run_pipeline", execution_timeout=timedelta(days=7))
    verdict(run.output)


codetr_retrain()
