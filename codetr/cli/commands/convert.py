"""The command convert: official checkpoints in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codetr.cli.output import console, plain, print_table
from codetr.cli.settings_options import SetOption
from codetr.core.errors import UserError, listed
from codetr.steps.settings import read_recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from codetr.weights.official.convert import Conversion
    from codetr.weights.official.identify import ModelConfiguration

_SHOWN = 4


def convert(
    *,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|MODEL", help="A checkpoint or state dict, .pth or .safetensors; with --to-official a model."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER|FILE",
            help="The model's folder; with --to-official the .pth file. Nothing but an earlier one is replaced.",
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME|FILE.yaml", help="The recipe whose detector the weights are of."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE.json",
            help="The official configuration they are of, as JSON: all of it, or `model` alone.",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes",
            metavar="FILE|DATASET",
            help="Class names in label order: a text file with one a line, a COCO file, or a dataset's folder.",
        ),
    ] = None,
    to_official: Annotated[
        bool, typer.Option("--to-official", help="The other way: write a model as an official checkpoint.")
    ] = False,
    assignments: SetOption = None,
) -> None:
    """Official Co-DETR checkpoints to models, and back. Files are read as data; nothing in them is executed.

    Without [bold]--recipe[/] or [bold]--config[/] the configuration is the one in the checkpoint, or that of the recipe
    which has exactly its keys and shapes. The report says what became of every key.

        [cyan]codetr convert co_dino_5scale_swin_large_16e_o365tococo.pth -o outputs/swin[/]

        [cyan]codetr convert r50.pth --recipe co_dino_5scale_r50_1x_lvis --classes lvis_v1_val.json -o outputs/r50[/]

        [cyan]codetr convert mine.pth --config mine.json -o outputs/mine[/]

        [cyan]codetr convert --to-official outputs/model -o model.pth[/]

    What comes out is a model like any other, to [bold]predict[/], [bold]evaluate[/], [bold]register[/] and start from.
    """
    from codetr.weights.class_names import read_names
    from codetr.weights.official.convert import convert as run
    from codetr.weights.official.convert import write_official

    if to_official:
        for option, value in (
            ("--recipe", recipe),
            ("--config", config),
            ("--classes", classes),
            ("--set", assignments),
        ):
            if value:
                raise UserError("is given with --to-official, which takes everything from the model", where=option)
        names = write_official(source, output)
        console().print(f"{len(names)} keys: {plain(output)}")
        return
    told = _told(recipe, config)
    _report(
        run(
            source,
            output,
            told=told,
            class_names=read_names(classes) if classes else None,
            assignments=assignments or (),
        ),
        output,
    )


def _told(recipe: str | None, config: Path | None) -> Callable[[int], ModelConfiguration] | None:
    from codetr.core.files import read_json
    from codetr.weights.official.identify import from_official_json, from_recipe

    if recipe is not None and config is not None:
        raise UserError("is given together with --recipe: say one of them", where="--config")
    if recipe is not None:
        chosen = read_recipe(recipe)
        return lambda count: from_recipe(chosen, count)
    if config is None:
        return None
    if config.suffix == ".py":
        hint = "Where mmcv is installed: Config.fromfile('x.py').dump('x.json'). Or name a recipe with --recipe."
        raise UserError("is a program, and none is executed here: give it as JSON", where=str(config), hint=hint)
    content, path = read_json(config), config
    if not isinstance(content, dict):
        raise UserError("is no configuration: it is not a JSON object", where=str(config))
    return lambda count: from_official_json(content, path.stem, count, path.name)


def _report(done: Conversion, output: Path) -> None:
    from codetr.weights.official.convert import SUMMARY

    keys = done.keys
    rows = [
        ("configuration", done.configuration),
        ("recipe", done.info.recipe),
        ("classes", f"{len(done.classes.names)}, {done.classes.origin}"),
        ("keys converted", str(len(keys.converted))),
        ("keys missing", "none"),
        ("keys unexpected", "none"),
        ("constants computed anew", _some(keys.constants)),
        ("averages left out", _some(keys.averages)),
        ("left out besides", ", ".join(keys.left_out) or "nothing"),
    ]
    print_table(("", ""), rows)
    out = console()
    if not done.classes.known:
        out.print("[yellow]The classes have numbers for names. Say what they are with --classes.[/]")
    out.print(f"[bold]model[/] {plain(output)}; every key is in {plain(output / SUMMARY)}")


def _some(names: tuple[str, ...]) -> str:
    return f"{len(names)}: {listed(names, _SHOWN)}" if names else "none"
