"""`codetr register`: register a model version and decide on promotion."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from codetr.cli.options import ModelOption, OutputOption, RegistryOption
from codetr.cli.output import show_step
from codetr.cli.settings_options import ParamsOption, SetOption
from codetr.steps.settings import step_settings


def register(
    *,
    model: ModelOption,
    evaluation: Annotated[
        Path,
        typer.Option(
            "--evaluation", "-e", metavar="FOLDER", help="Its evaluation: a folder written by [bold]codetr evaluate[/]."
        ),
    ],
    registry: RegistryOption,
    output: OutputOption,
    params: ParamsOption = None,
    assignments: SetOption = None,
) -> None:
    """[bold]Step 4[/]: register a model version; promote it to champion if the gate passes.

    A version is immutable. The gate passes for the first version, and for one with a better metric than the champion
    on the same evaluation set; otherwise the verdict gives the reasons.

        [cyan]codetr register -m outputs/model -e outputs/evaluation -r outputs/registry -o outputs/registration[/]

        [cyan]codetr register --set min_improvement=0.005 -m … -e … -r … -o …[/]

        [cyan]codetr registry list outputs/registry[/]
    """
    from codetr.steps.register import RegisterConfig
    from codetr.steps.register import register as run

    started = time.monotonic()
    config = step_settings(RegisterConfig, "register", params, assignments)
    show_step(run(config, model, evaluation, registry, output), output, started=started)
