"""Retraining on a schedule: the DAG `codetr_retrain`.

Airflow schedules the pipeline and shows how it ended. The pipeline runs as a command in the environment of codetr, so
this file needs nothing but Airflow, and a step behaves here as it does everywhere else.

The installation is configured by Airflow Variables, or environment variables of the scheduler with the same names:
    CODETR_PROJECT  the repository's root; by default the folder above this one
    CODETR_PYTHON   codetr's interpreter; by default .venv/bin/python in the project
    CODETR_ENGINE   "local" runs the pipeline on this machine, "kubeflow" on the server KFP_ENDPOINT names
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import BaseOperator, Context, Param, Variable, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException


class ExitCode(IntEnum):
    """Exit codes of the pipeline: a copy of `codetr.core.exit_codes`, since Airflow's environment has no codetr."""

    OK = 0
    FINDINGS = 1
    MISTAKE = 2
    FAILED = 70
    PREEMPTED = 75
    INTERRUPTED = 130


def raise_for_exit_code(code: int, last_line: str) -> None:
    """Raise the exception that makes Airflow do what the pipeline's exit code asks for.

    Args:
        code: the exit code; negative for a signal.
        last_line: the last line that the pipeline printed: its error.

    Raises:
        AirflowFailException: a mistake in the settings or the input; the task is not retried.
        AirflowException: any other failure; the task is retried, and training resumes from its checkpoint.
    """
    match code:
        case ExitCode.OK:
            return
        case ExitCode.MISTAKE:
            raise AirflowFailException(last_line or "The settings or the input are wrong (exit code 2).")
        case ExitCode.PREEMPTED:
            raise AirflowException(f"The pipeline was stopped and saved its state (exit code {code}): a retry resumes.")
        case ExitCode.INTERRUPTED:
            raise AirflowException(f"The pipeline was interrupted (exit code {code}).")
        case _:
            raise AirflowException(f"The pipeline failed (exit code {code}): {last_line or 'the log says why'}")


def installation_setting(name: str, default: str) -> str:
    """Return a setting of this installation: an Airflow Variable, else the environment, else the default."""
    return Variable.get(name, default=os.environ.get(name, default))


def project() -> Path:
    """Return the repository's root."""
    return Path(installation_setting("CODETR_PROJECT", str(Path(__file__).resolve().parents[1])))


def pipeline_command(engine: str, run_name: str, params: dict[str, Any]) -> list[str]:
    """Return the command that runs the pipeline and ends when it does."""
    command = [installation_setting("CODETR_PYTHON", str(project() / ".venv/bin/python")), "-m", "pipelines"]
    if engine == "kubeflow":
        # A retried task finds the run of this name instead of starting a second one.
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
    """Runs the pipeline to its end; its output is the task's log."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.process = SubprocessHook()

    def execute(self, context: Context) -> str:
        """Run the pipeline, and return the engine it ran on.

        Raises:
            AirflowFailException: a mistake in the settings or the input; the task is not retried.
            AirflowException: the pipeline failed otherwise; the task is retried.
        """
        engine = installation_setting("CODETR_ENGINE", "local")
        if engine not in ("local", "kubeflow"):
            raise AirflowFailException(f"CODETR_ENGINE is '{engine}', expected 'local' or 'kubeflow'")
        command = pipeline_command(engine, f"airflow-{context['run_id']}", dict(context["params"]))
        if not Path(command[0]).is_file():
            raise AirflowFailException(f"CODETR_PYTHON: there is no interpreter {command[0]}")
        # If this process is killed, the pipeline ends: training saves a checkpoint first.
        environment = {**os.environ, "CODETR_PARENT": str(os.getpid())}
        result = self.process.run_command(command, env=environment, cwd=str(project()))
        raise_for_exit_code(result.exit_code, result.output)
        return engine

    def on_kill(self) -> None:
        """Stop the pipeline when the task is cleared or marked as failed: training saves a checkpoint and ends."""
        process = self.process.sub_process
        if process is not None and process.poll() is None:
            self.process.send_sigterm()


DOCUMENTATION = """
### Retrain the detector

Runs the four steps of codetr: **prepare** the dataset, **train**, **evaluate**, **register**. The registry's gate moves
the alias `champion` only if the new model is better than the present one on the same evaluation set.

- `run_pipeline` runs the pipeline to its end. Its log is that of the steps.
- `verdict` returns the metrics and the gate's decision with its reasons (XCom).

**When it fails:** the last line of the log says why. A mistake in the settings or the data fails the task at once;
other failures are retried twice, and training resumes from its checkpoint. Clearing or failing the task stops training
after a checkpoint.

**Settings:** the parameters below, of each run; the file that `params` names; and for the installation the Airflow
Variables `CODETR_PROJECT` (the repository), `CODETR_PYTHON` (its interpreter) and `CODETR_ENGINE` (`local` or
`kubeflow`). The guide is `docs/how-to/pipelines.md` of the repository.
"""


@dag(
    dag_id="codetr_retrain",
    description="Prepare, train, evaluate and register a detector, every Sunday at two",
    schedule="0 2 * * 0",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    # Two runs at once would share the folder of checkpoints.
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["codetr"],
    doc_md=DOCUMENTATION,
    params={
        "params": Param("params.yaml", type="string", description="Settings of the steps, relative to the project."),
        "recipe": Param(None, type=["null", "string"], description="Recipe to use instead of the one in the file."),
        "overrides": Param([], type="array", items={"type": "string"}, description="Changes of the recipe: a.b=value."),
        "processes": Param(1, type="integer", minimum=1, description="Processes of training and evaluation."),
        "output": Param("outputs/pipeline", type="string", description="Local runs: every run creates a folder in it."),
        "registry": Param("outputs/registry", type="string", description="Local runs: the registry."),
    },
)
def codetr_retrain() -> None:
    """Prepare, train, evaluate and register, every Sunday at two."""

    @task
    def verdict(engine: str) -> dict[str, Any]:
        """Return the metrics of the run and the gate's verdict."""
        if engine == "kubeflow":
            # The server has the folders, and a page that shows them.
            return {"engine": engine}
        context = get_current_context()
        run = json.loads((project() / context["params"]["output"] / "run.json").read_text(encoding="utf-8"))
        print(json.dumps(run, indent=2))
        return {"engine": engine, **run}

    run = PipelineOperator(task_id="run_pipeline", execution_timeout=timedelta(days=7))
    verdict(run.output)


codetr_retrain()
