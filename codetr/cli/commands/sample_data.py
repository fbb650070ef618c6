"""`codetr sample-data`: draw a small dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codetr.core.bounds import MAX_SEED


def sample_data(
    *,
    output: Annotated[Path, typer.Argument(metavar="FOLDER", help="Output folder for images and annotations.")],
    images: Annotated[int, typer.Option("--images", "-n", min=2, help="Number of images.")] = 500,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="The same seed gives the same images.")] = 0,
) -> None:
    """Draw a small synthetic detection dataset, shapes on textures with boxes and masks, for first experiments.

    [cyan]codetr sample-data shapes --images 400 --seed 1[/]
    """
    from codetr.data.synthetic import draw_sample_data

    draw_sample_data(output, images=images, seed=seed)
    typer.echo(output)
