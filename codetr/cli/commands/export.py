"""`codetr export`: write ONNX and torch.export files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codetr.cli.options import ModelOption
from codetr.cli.output import console, plain, print_table
from codetr.core.errors import UserError


def export(
    *,
    model: ModelOption,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Where the files go; it appears when all agree with the model."
        ),
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", metavar="onnx|torch", help="Repeat it for several; without it, both."),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option("--image", metavar="FILE", help="Compare on this image, too; repeat it for several."),
    ] = None,
) -> None:
    """Write a model as files that run without codetr, model.onnx and model.pt2, checked against the model.

    [cyan]codetr export -m outputs/model -o outputs/export --image photo.jpg[/]

    Both take batches of any size of images of any size. They hold the class names and how images are prepared.
    """
    from codetr.export.folder import FORMATS
    from codetr.export.folder import export as run

    unknown = sorted(set(formats or ()) - set(FORMATS))
    if unknown:
        raise UserError(f"is {', '.join(unknown)}", where="--format", hint=f"Formats are {', '.join(FORMATS)}.")
    exported = run(
        model, output, formats=[kind for kind in FORMATS if kind in (formats or FORMATS)], images=images or ()
    )
    print_table(
        (
            "file",
            "images",
            "canvas",
            "detections",
            "agreeing",
            "steady",
            "box difference",
            "score difference",
            "mask difference",
        ),
        [
            (
                file.path.name,
                compared.images,
                "{} by {}".format(*compared.canvas),
                compared.detections,
                f"{compared.agreeing:.1%}",
                f"{compared.steady:.1%}",
                f"{compared.boxes:.1g} px",
                f"{compared.scores:.1g}",
                "-" if compared.cells is None else f"{compared.cells:.1g}",
            )
            for file in exported
            for compared in file.comparisons
        ],
    )
    for file in exported:
        console().print(plain(file.path))
