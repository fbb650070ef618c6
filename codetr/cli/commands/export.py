"""`codetr export`: export a model to ONNX and torch.export files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codetr.cli.options import ModelOption
from codetr.cli.output import console, plain, print_table
from codetr.core.errors import UserError, did_you_mean


def export(
    *,
    model: ModelOption,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder for the files; written when all agree with it."),
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", metavar="onnx|torch", help="Format to write; repeatable. Default: both."),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option("--image", metavar="FILE", help="Also verify on this image; repeatable."),
    ] = None,
) -> None:
    """Export a model to model.onnx and model.pt2, which run without codetr; verify them against the model.

    [cyan]codetr export -m outputs/model -o outputs/export --image photo.jpg[/]

    Both accept batches of any size with images of any size, and contain the class names and the preprocessing.

    ONNX needs optional dependencies; the message without them has the command that installs them.
    """
    from codetr.export.export_model import FORMATS
    from codetr.export.export_model import export as run

    unknown = sorted(set(formats or ()) - set(FORMATS))
    if unknown:
        hint = f"{did_you_mean(unknown[0], FORMATS)}Formats: {', '.join(FORMATS)}."
        raise UserError(f"unknown format {', '.join(unknown)}", where="--format", hint=hint)
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
            "stable",
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
                f"{compared.stable:.1%}",
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
