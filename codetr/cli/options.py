"""Options of several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codetr.core.errors import UserError
from codetr.core.manifest import WRITTEN_BY
from codetr.registry.address import model_folder


def existing_model(address: str) -> Path:
    """Return the folder of a model, before PyTorch is imported, which takes seconds.

    Raises:
        UserError: see `model_folder`; or there is no such folder.
    """
    folder = model_folder(address)
    if not folder.exists():
        raise UserError("there is no such folder", where=address, hint=WRITTEN_BY["model"])
    return folder


DatasetOption = Annotated[
    Path,
    typer.Option("--dataset", "-d", metavar="FOLDER", help="The dataset, as [bold]codetr prepare[/] writes it."),
]
_MODEL_HELP = "The model, as [bold]codetr train[/] writes it, or REGISTRY@VERSION, e.g. outputs/registry@champion."
ModelOption = Annotated[Path, typer.Option("--model", "-m", metavar="FOLDER", parser=existing_model, help=_MODEL_HELP)]
ClusterModelOption = Annotated[
    Path, typer.Option("--model", "-m", metavar="FOLDER", parser=model_folder, help=_MODEL_HELP)
]
"""A model that may be on a cluster's volume, which this machine does not see."""
OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="FOLDER",
        help="Folder for the result. It appears when the step succeeds, and replaces an earlier result; a folder with "
        "any other content is refused.",
    ),
]
RegistryOption = Annotated[Path, typer.Option("--registry", "-r", metavar="FOLDER", help="The registry's folder.")]
