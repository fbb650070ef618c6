"""The application: its commands in groups, and how errors are reported."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from codetr.cli.commands import jobs, registry, store
from codetr.cli.commands.benchmark import benchmark
from codetr.cli.commands.compare import compare
from codetr.cli.commands.convert import convert
from codetr.cli.commands.doctor import doctor
from codetr.cli.commands.evaluate import evaluate
from codetr.cli.commands.export import export
from codetr.cli.commands.predict import predict
from codetr.cli.commands.prepare import prepare
from codetr.cli.commands.register import register
from codetr.cli.commands.sample_data import sample_data
from codetr.cli.commands.score import score
from codetr.cli.commands.serve import serve
from codetr.cli.commands.show import show
from codetr.cli.commands.train import train
from codetr.cli.commands.zoo import zoo
from codetr.cli.help_text import lay_out_help
from codetr.cli.run_app import run_app
from codetr.cli.streams import discard_stdout
from codetr.core.errors import ReportedError, RunFailed
from codetr.core.failure_file import write_failure
from codetr.core.text import SafeFormatter
from codetr.core.version import __version__

app = typer.Typer(
    name="codetr",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""
    Train, evaluate and ship Co-DETR object detectors.

    The workflow has four steps, each from folder to folder:

        annotations + images → [bold]prepare[/] → [bold]train[/] → [bold]evaluate[/] → [bold]register[/] → registry

    A first run, on generated data:

        [cyan]codetr sample-data shapes[/]
        [cyan]codetr prepare --train shapes/train/annotations.json --train-images shapes/train/images \\
            --val shapes/val/annotations.json --val-images shapes/val/images -o outputs/dataset[/]
        [cyan]codetr train --recipe tiny -d outputs/dataset -o outputs/model[/]
        [cyan]codetr evaluate -m outputs/model -d outputs/dataset -o outputs/evaluation[/]
        [cyan]codetr register -m outputs/model -e outputs/evaluation -r outputs/registry -o outputs/registration[/]

    [dim]dvc repro, the Kubeflow pipeline and the Airflow DAG run these same four steps.[/]
    """,
)


def show_version(requested: bool) -> None:
    """Print the version and exit."""
    if requested:
        typer.echo(f"codetr {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Configure logging for every command."""
    # Warnings and progress go to stderr as plain lines: stdout belongs to results, and logs are read by machines too.
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("codetr").setLevel(logging.INFO)


STEPS = "The four steps"
TOOLS = "Using a model and looking at data"

_COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    STEPS: (prepare, train, evaluate, register),
    TOOLS: (predict, serve, benchmark, export, convert, score, compare, sample_data, doctor, show),
}
for panel, commands in _COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=panel, no_args_is_help=True)(command)
app.command(rich_help_panel=TOOLS)(zoo)
app.add_typer(registry.app, name="registry", rich_help_panel=TOOLS)
app.add_typer(store.app, name="store", rich_help_panel=TOOLS)
app.add_typer(jobs.app, name="jobs", rich_help_panel=TOOLS)
lay_out_help(app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with one of `ExitCode`.

    Args:
        arguments: None for those of the process.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    # PyTorch's threads that wait for one another sleep rather than spin: on a machine with other work to do, spinning
    # makes a training step ten times as slow. PyTorch reads the variable when it is loaded, so set it here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run_app(app, given, fail, name="codetr")


def fail(error: ReportedError) -> NoReturn:
    """Print an error without a traceback and exit with its code."""
    rank = os.environ.get("RANK", "0")
    prefix = "Error: "
    if rank != "0":
        # All processes of a run usually meet the same error. The report of the first process ends them all; an error
        # of this process alone is still printed.
        time.sleep(3)
        prefix = f"Error in process {rank}: "
    Console(stderr=True, soft_wrap=True, highlight=False).print(Text.assemble((prefix, "bold red"), str(error)))
    if isinstance(error, RunFailed) and os.environ.get("WORLD_SIZE", "1") != "1":
        # Often the consequence of the end of another process, which is about to exit with the code that says why. The
        # launcher takes the first code, and ends this process when it has it.
        time.sleep(5)
    with suppress(OSError):
        write_failure(error.exit_code, str(error))
    try:
        sys.stdout.flush()
    except OSError:
        discard_stdout()
    sys.exit(error.exit_code)
