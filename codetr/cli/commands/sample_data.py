"""`codetr sample-data`: draw a small dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sample_data(
    *,
    output: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the pictures and annotations go.")],
    images: Annotated[int, typer.Option("--images", "-n", min=2, help="How many pictures.")] = 500,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same pictures.")] = 0,
) -> None:
    """Draw a labelled detection set: shapes over textures, with boxes and masks, to try everything on.

    [cyan]codetr sample-data shapes --images 400 --seed 1[/]
    """
    from codetr.data.synthetic import draw_sample_data

    draw_sample_data(output, images=images, seed=seed)
    typer.echo(output)
