"""`python -m pipelines compile | run-local | submit | request | list | status | cancel`, from the repository's root."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from codetr.cli.option_groups import expand_option_groups
from codetr.cli.output import plain, print_table
from codetr.cli.reported import reported_error
from codetr.cli.run_app import run_app
from codetr.cli.store_options import StoreOption
from codetr.core.errors import ReportedError, UserError
from codetr.core.extras import install_hint
from codetr.core.system.parent_watch import watch_parent
from pipelines.arguments import step_arguments, store_argument
from pipelines.launching import read_cluster
from pipelines.options import (
    EXPERIMENT,
    ClusterOption,
    ExperimentOption,
    LocalFolders,
    NamespaceOption,
    ProcessesOption,
    Resources,
    RunArgument,
    RunOptions,
    Server,
    StepSettings,
    Storage,
    Waiting,
)

_EXTRA = ("kfp", "google", "urllib3", "certifi")
"""Packages that the extra `kubeflow` installs."""

app = typer.Typer(
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The pipeline prepare → train → evaluate → register: compile it, run it on this machine, or on a server.",
)


@app.command("compile")
def compile_command(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.yaml", help="The compiled pipeline.")] = Path(
        "outputs/retrain.yaml"
    ),
) -> None:
    """Compile the pipeline to a YAML file, to upload to a server by hand."""
    from pipelines.compile import compile_pipeline

    compile_pipeline(output)
    print(output)


@app.command()
@expand_option_groups
def run_local(
    *,
    settings: StepSettings,
    folders: LocalFolders,
    processes: ProcessesOption = 1,
    cluster: ClusterOption = None,
    store: StoreOption = None,
) -> None:
    """Run the four steps on this machine; OUTPUT/run.json lists the folders they wrote."""
    from pipelines.run_local import run_local as run

    steps = step_arguments(settings.params, settings.recipe, settings.overrides)
    checkpoints = folders.checkpoints or folders.output / "checkpoints"
    spec = None
    if cluster is not None:
        if processes != 1:
            hint = "The file of the cluster has the number of processes."
            raise UserError("cannot be combined with --cluster", where="--nproc", hint=hint)
        named = {"--output": folders.output, "--registry": folders.registry, "--checkpoints": checkpoints}
        paths = {option: str(path) for option, path in named.items()}
        spec = read_cluster(cluster, steps["train_settings"], paths)
    done = run(
        steps,
        output=folders.output,
        registry=folders.registry,
        checkpoints=checkpoints,
        processes=processes,
        cluster=spec,
        store=store_argument(store, local=True),
    )
    done.write(folders.output / "run.json")
    print(f"Report: {done.evaluation / 'report.html'}\nRun: {folders.output / 'run.json'}")


@app.command()
@expand_option_groups
def submit(
    *,
    server: Server,
    settings: StepSettings,
    run: RunOptions,
    resources: Resources,
    storage: Storage,
    waiting: Waiting,
    cluster: ClusterOption = None,
    store: StoreOption = None,
) -> None:
    """Run the pipeline on a Kubeflow Pipelines server."""
    from pipelines.request import run_request
    from pipelines.submit import submit as start
    from pipelines.submit import wait

    asked = run_request(settings, run, resources, storage, cluster=cluster, store=store)
    run_id = start(server, asked.arguments, experiment=asked.experiment, run_name=asked.run_name, secrets=asked.secrets)
    print(run_id, flush=True)
    if waiting.wait:
        wait(server, run_id, timeout=waiting.timeout * 3600)


@app.command("list")
@expand_option_groups
def list_runs(
    *,
    server: Server,
    experiment: ExperimentOption = EXPERIMENT,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="How many, the newest first.")] = 20,
) -> None:
    """List the newest runs of an experiment."""
    from pipelines.kfp_server import PipelineApi
    from pipelines.status import run_row

    api = PipelineApi.connect(server)
    runs = api.newest_runs(api.existing_experiment(experiment), count)
    print_table(("run", "id", "state", "duration"), [tuple(map(plain, run_row(run))) for run in runs])


@app.command(no_args_is_help=True)
@expand_option_groups
def status(
    *,
    run: RunArgument,
    server: Server,
    experiment: ExperimentOption = EXPERIMENT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Wait for its end, and exit with the code that says how it ended.")
    ] = False,
) -> None:
    """Show the state of a run, its tasks with their durations, and why a task failed."""
    from pipelines.find_run import find_run
    from pipelines.kfp_server import PipelineApi
    from pipelines.status import describe_run, duration, task_rows
    from pipelines.submit import wait

    api = PipelineApi.connect(server)
    description = describe_run(find_run(api, experiment, run), api.endpoint)
    if as_json:
        print(json.dumps(description, indent=2))
    else:
        took = duration(description["seconds"])
        print(plain(f"{description['run']}: {description['state']}{f', {took}' if took else ''}"))
        print(plain(description["page"]))
        rows = [tuple(map(plain, row)) for row in task_rows(description)]
        if rows:
            print_table(("task", "state", "duration", "reason"), rows)
    if watch:
        wait(server, description["id"], timeout=Waiting().timeout * 3600)


@app.command(no_args_is_help=True)
@expand_option_groups
def cancel(
    *,
    run: RunArgument,
    server: Server,
    experiment: ExperimentOption = EXPERIMENT,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0, help="Wait so long for its end.")
    ] = 300,
) -> None:
    """End a run, and wait until it has ended; jobs that its tasks have started on a cluster are deleted."""
    from pipelines.cancel import cancel as end
    from pipelines.find_run import find_run
    from pipelines.kfp_server import PipelineApi

    api = PipelineApi.connect(server)
    ended = end(api, find_run(api, experiment, run), timeout=timeout)
    print(plain(f"{ended.display_name}: {ended.state}"))


@app.command()
@expand_option_groups
def request(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.json", help="The request.")],
    settings: StepSettings,
    run: RunOptions,
    resources: Resources,
    storage: Storage,
    namespace: NamespaceOption = None,
    cluster: ClusterOption = None,
    store: StoreOption = None,
) -> None:
    """Write what `submit` would send as JSON, without a server: for schedulers that submit themselves."""
    from pipelines.request import run_request

    asked = run_request(settings, run, resources, storage, cluster=cluster, store=store)
    asked.write(output, namespace=namespace)
    print(output)


def main() -> None:
    """Run the command line and exit with one of `ExitCode`; an error is one line, the last one."""
    watch_parent()
    run_app(app, sys.argv[1:], _fail, reported=_reported)


def _reported(error: Exception) -> ReportedError | None:
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in _EXTRA:
        return UserError(f"pipelines need {error.name}, which is not installed", hint=install_hint("kubeflow"))
    return reported_error(error)


def _fail(error: ReportedError) -> NoReturn:
    # A scheduler that reads both streams as one, such as Airflow, reports the last line.
    with suppress(OSError):
        sys.stdout.flush()
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
