"""`codetr register`: register a model version and decide on promotion."""

from __future__ import annotations

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
            "--evaluation", "-e", metavar="FOLDER", help="Its evaluation: what [bold]codetr evaluate[/] wrote."
        ),
    ],
    registry: RegistryOption,
    output: OutputOption,
    params: ParamsOption = None,
    assignments: SetOption = None,
) -> None:
    """[bold]Step 4[/]: keep a model and its evaluation as a version, and make it champion if it is better.

    A version is never changed or overwritten. The alias [bold]champion[/] moves to it when it is the first one, or
    measured better than the champion on the same evaluation set; otherwise the verdict says why not.

        [cyan]codetr register -m outputs/model -e outputs/evaluation -r outputs/registry -o outputs/registration[/]

        [cyan]codetr register --set min_improvement=0.005 -m … -e … -r … -o …[/]

        [cyan]codetr registry list outputs/registry[/]
    """
    from codetr.steps.register import RegisterConfig
    from codetr.steps.register import register as run

    config = step_settings(RegisterConfig, "register", params, assignments)
    show_step(run(config, model, evaluation, registry, output), output)
