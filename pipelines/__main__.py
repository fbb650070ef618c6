"""`python -m pipelines compile | run-local | submit`, from the repository's root."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from codetr.core.errors import UserError
from codetr.core.parent_watch import watch_parent
from codetr.core.version import __version__
from pipelines.arguments import step_settings

app = typer.Typer(
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The pipeline prepare → train → evaluate → register: compile it, run it here, or submit it.",
)

ParamsOption = Annotated[
    Path, typer.Option("--params", metavar="FILE", help="Settings of every step, as `dvc repro` reads them.")
]
RecipeOption = Annotated[
    str | None, typer.Option("--recipe", metavar="NAME", help="A recipe other than the one in the params file.")
]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=VALUE", help="Change one setting of the recipe, by its path. Repeatable."),
]
ProcessesOption = Annotated[int, typer.Option("--nproc", min=1, help="Processes of training and evaluation.")]


@app.command("compile")
def compile_command(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE")] = Path("outputs/retrain.yaml"),
) -> None:
    """Write the pipeline as one YAML file, to be uploaded to a server by hand."""
    from pipelines.compile import compile_pipeline

    compile_pipeline(output)
    print(output)


@app.command()
def run_local(
    params: ParamsOption = Path("params.yaml"),
    recipe: RecipeOption = None,
    override: OverrideOption = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Every run makes a folder of its own in it.")
    ] = Path("outputs/pipeline"),
    registry: Annotated[Path, typer.Option(metavar="FOLDER", help="The registry.")] = Path("outputs/registry"),
    checkpoints: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="What training resumes from. Default: OUTPUT/checkpoints.")
    ] = None,
    processes: ProcessesOption = 1,
) -> None:
    """Run all four steps on this machine; OUTPUT/run.json says where everything is."""
    from pipelines.run_local import run_local as run

    done = run(
        step_settings(params, recipe, override or ()),
        output=output,
        registry=registry,
        checkpoints=checkpoints or output / "checkpoints",
        processes=processes,
    )
    done.write(output / "run.json")
    print(f"Report: {done.evaluation / 'report.html'}\nRun: {output / 'run.json'}")


@app.command()
def submit(
    endpoint: Annotated[str, typer.Option(envvar="KFP_ENDPOINT", help="The server, e.g. http://localhost:8888.")],
    params: ParamsOption = Path("params.yaml"),
    recipe: RecipeOption = None,
    override: OverrideOption = None,
    namespace: Annotated[
        str | None, typer.Option(envvar="KFP_NAMESPACE", help="The run's namespace, on a server with several users.")
    ] = None,
    token: Annotated[str | None, typer.Option(envvar="KFP_TOKEN", help="A bearer token.")] = None,
    experiment: Annotated[str, typer.Option(help="Under which the run is shown.")] = "codetr",
    run_name: Annotated[
        str | None,
        typer.Option(help="Asking again with the same name finds the same run, unless it failed. Default: the time."),
    ] = None,
    image: Annotated[
        str, typer.Option(envvar="CODETR_IMAGE", help="The image with codetr that every task runs in.")
    ] = f"codetr:{__version__}",
    registry: Annotated[str, typer.Option(help="The registry, as the tasks see it.")] = "/data/registry",
    checkpoints: Annotated[str, typer.Option(help="Below it, every run has a folder.")] = "/data/checkpoints",
    volume: Annotated[str, typer.Option(help="The PersistentVolumeClaim that the tasks see as /data.")] = "codetr-data",
    processes: ProcessesOption = 1,
    accelerator: Annotated[str, typer.Option(help="The resource's name.")] = "nvidia.com/gpu",
    accelerators: Annotated[int, typer.Option(min=0, help="How many training and evaluation get.")] = 0,
    cpu: Annotated[str, typer.Option(help="CPU limit of training and evaluation.")] = "4",
    memory: Annotated[str, typer.Option(help="Memory limit of training and evaluation.")] = "16Gi",
    wait: Annotated[bool, typer.Option("--wait", help="Return when the run has ended, as it has ended.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Hours to wait at most.")] = 168,
) -> None:
    """Run the pipeline on a Kubeflow Pipelines server."""
    from pipelines.kfp_server import Server
    from pipelines.submit import submit as start
    from pipelines.submit import wait as wait_for

    name = run_name or f"retrain-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    server = Server(endpoint, namespace, token)
    arguments = {
        **step_settings(params, recipe, override or ()),
        "registry": registry,
        "checkpoints": f"{checkpoints.rstrip('/')}/{name}",
        "image": image,
        "processes": processes,
        "accelerator": accelerator,
        "accelerators": accelerators,
        "cpu": cpu,
        "memory": memory,
        "volume": volume,
    }
    run_id = start(server, arguments, experiment=experiment, run_name=name)
    print(run_id)
    if wait:
        wait_for(server, run_id, timeout=timeout * 3600)


def main() -> None:
    """Run the command line; a user's mistake ends it with code 2 and without a traceback."""
    watch_parent()
    try:
        app()
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("kfp", "kfp_server_api"):
            raise
        install = 'pip install -c requirements/constraints.txt -e ".[kubeflow]"'
        print(f"Error: pipelines need {error.name}, which is not installed. Install it: {install}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
