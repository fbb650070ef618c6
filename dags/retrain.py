"""Retraining on a schedule: the DAG `codetr_retrain`.

Airflow schedules the pipeline and shows how it ended. The pipeline runs as a command in the environment of codetr, so
this file needs nothing but Airflow, and a step behaves here as it does everywhere else.

The installation is configured by Airflow Variables, or environment variables of the scheduler with the same names:
    CODETR_PROJECT  the repository's root; by default the folder above this one
    CODETR_PYTHON   codetr's interpreter; by default .venv/bin/python in the project
    CODETR_ENGINE   "local" runs the pipeline on this machine, "kubeflow" on the server KFP_ENDPOINT names
    CODETR_DEFAULTS values of parameters that a run does not give, as JSON: {"cluster": "trainjob", "image": "…"}
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
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


ON_A_SERVER = ("cluster", "image", "accelerators", "cpu", "memory", "volume", "namespace", "experiment")
"""Parameters that are options of `python -m pipelines submit` of the same names."""

SUBMIT_SECONDS, CANCEL_SECONDS = 10, 40
"""How long a submission, and then the end of a run on a server, are waited for. Airflow kills a task a minute after it
asked it to end."""


def run_params(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a run, with the defaults of this installation for those that are not given.

    Raises:
        AirflowFailException: CODETR_DEFAULTS is not a JSON object, or names a parameter that does not exist.
    """
    text = installation_setting("CODETR_DEFAULTS", "{}")
    try:
        defaults = json.loads(text)
        unknown = sorted(defaults.keys() - given.keys())
    except (ValueError, AttributeError):
        raise AirflowFailException(f"CODETR_DEFAULTS: is no JSON object: {text}") from None
    if unknown:
        raise AirflowFailException(f"CODETR_DEFAULTS: there is no parameter '{unknown[0]}'")
    return {name: defaults.get(name) if value is None else value for name, value in given.items()}


def pipelines_command() -> list[str]:
    """Return the command `python -m pipelines` in codetr's environment."""
    return [installation_setting("CODETR_PYTHON", str(project() / ".venv/bin/python")), "-m", "pipelines"]


def pipeline_command(engine: str, run_name: str, params: Mapping[str, Any]) -> list[str]:
    """Return the command that runs the pipeline and ends when it does."""
    command = pipelines_command()
    options = ["recipe", "store"]
    if engine == "kubeflow":
        # A retried task finds the run of this name instead of starting a second one.
        command += ["submit", "--wait", "--run-name", run_name]
        options += ON_A_SERVER
    else:
        command += ["run-local", "--output", params["output"], "--registry", params["registry"]]
    command += ["--params", params["params"]]
    if params["processes"] is not None:
        command += ["--nproc", str(params["processes"])]
    for name in options:
        if params[name] not in (None, ""):
            command += [f"--{name}", str(params[name])]
    for override in params["overrides"]:
        command += ["--set", override]
    return command


def cancel_command(run_name: str, params: Mapping[str, Any]) -> list[str]:
    """Return the command that ends a run on the server."""
    command = [*pipelines_command(), "cancel", run_name, "--timeout", str(CANCEL_SECONDS)]
    for name in ("namespace", "experiment"):
        if params[name]:
            command += [f"--{name}", params[name]]
    return command


class PipelineOperator(BaseOperator):
    """Runs the pipeline to its end; its output is the task's log."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.process = SubprocessHook()
        self.cancel_command: list[str] | None = None

    def execute(self, context: Context) -> str:
        """Run the pipeline, and return the engine it ran on.

        Raises:
            AirflowFailException: a mistake in the settings or the input; the task is not retried.
            AirflowException: the pipeline failed otherwise; the task is retried.
        """
        engine = installation_setting("CODETR_ENGINE", "local")
        if engine not in ("local", "kubeflow"):
            raise AirflowFailException(f"CODETR_ENGINE is '{engine}', expected 'local' or 'kubeflow'")
        run_name = f"airflow-{context['run_id']}"
        params = run_params(dict(context["params"]))
        command = pipeline_command(engine, run_name, params)
        if not Path(command[0]).is_file():
            raise AirflowFailException(f"CODETR_PYTHON: there is no interpreter {command[0]}")
        # If this process is killed, the pipeline ends: training saves a checkpoint first.
        environment = {**os.environ, "CODETR_PARENT": str(os.getpid())}
        self.cancel_command = cancel_command(run_name, params) if engine == "kubeflow" else None
        result = self.process.run_command(command, env=environment, cwd=str(project()))
        raise_for_exit_code(result.exit_code, result.output)
        return engine

    def on_kill(self) -> None:
        """End the pipeline when the task is cleared or marked as failed; a later run resumes from its checkpoint.

        On a server it would go on beside the next one, which writes the same registry.
        """
        process = self.process.sub_process
        if process is None or process.poll() is not None:
            return
        self.process.send_sigterm()
        if self.cancel_command is not None:
            with suppress(subprocess.TimeoutExpired):
                # A run that is being submitted at this moment must be there before it can be found.
                process.wait(timeout=SUBMIT_SECONDS)
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(self.cancel_command, cwd=project(), timeout=CANCEL_SECONDS + 5, check=False)


DOCUMENTATION = """
### Retrain the detector

Runs the four steps of codetr: **prepare** the dataset, **train**, **evaluate**, **register**. The registry's gate moves
the alias `champion` only if the new model is better than the present one on the same evaluation set.

- `run_pipeline` runs the pipeline to its end. Its log is that of the steps.
- `verdict` returns the metrics and the gate's decision with its reasons (XCom).

**When it fails:** the last line of the log says why. A mistake in the settings or the data fails the task at once;
other failures are retried twice, and training resumes from its checkpoint. Clearing or failing the task ends the
pipeline, on a server too; training saves a checkpoint first.

**Settings:** the parameters below, of each run; the file that `params` names; and for the installation the Airflow
Variables `CODETR_PROJECT` (the repository), `CODETR_PYTHON` (its interpreter), `CODETR_ENGINE` (`local` or `kubeflow`)
and `CODETR_DEFAULTS` (parameters that are empty below, as JSON). The guide is `docs/how-to/pipelines.md` of the
repository.
"""


@dag(
    dag_id="codetr_retrain",
    description="Prepare, train, evaluate and register a detector, every Sunday at two",
    schedule="0 2 * * 0",
    # With a start date, Airflow starts the run of last Sunday when the DAG is first unpaused, in spite of catchup.
    start_date=None,
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
        "processes": Param(
            None, type=["null", "integer"], minimum=1, description="Processes of training and evaluation; 1 if empty."
        ),
        "store": Param(None, type=["null", "string"], description="Store of results: a folder or s3://BUCKET/PREFIX."),
        **{
            name: Param(None, type=["null", kind], description=f"Runs on a server: {text}")
            for name, (kind, text) in {
                "cluster": ("string", "a file of pipelines/clusters, on whose nodes training and evaluation run."),
                "image": ("string", "the image of every task; CODETR_IMAGE if empty."),
                "accelerators": ("integer", "GPUs of training and of evaluation; none if empty. Not with a cluster."),
                "cpu": ("string", "CPU limit of each of both, such as 16."),
                "memory": ("string", "memory limit of each of both, such as 64Gi."),
                "volume": ("string", "the PersistentVolumeClaim that is mounted at /data."),
                "namespace": ("string", "the namespace of the run; KFP_NAMESPACE if empty."),
                "experiment": ("string", "the experiment that lists the run."),
            }.items()
        },
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
