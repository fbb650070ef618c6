"""Options that several commands have, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codetr.registry.address import model_folder

DatasetOption = Annotated[
    Path, typer.Option("--dataset", "-d", metavar="FOLDER", help="The dataset: what [bold]codetr prepare[/] wrote.")
]
ModelOption = Annotated[
    Path,
    typer.Option(
        "--model",
        "-m",
        metavar="FOLDER",
        parser=model_folder,
        help="The model: what [bold]codetr train[/] wrote, or REGISTRY@VERSION, e.g. outputs/registry@champion.",
    ),
]
OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="FOLDER",
        help="Where the result goes. It appears whole when the step succeeds, and then replaces an earlier result; "
        "a folder that holds anything else is refused.",
    ),
]
RegistryOption = Annotated[Path, typer.Option("--registry", "-r", metavar="FOLDER", help="The registry's folder.")]
