"""`codetr convert`: official checkpoints to model folders, and back."""

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
            metavar="FILE|MODEL",
            help="A checkpoint or state dict, .pth or .safetensors; with --to-official a model folder.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER|FILE",
            help="The model folder to write; with --to-official the .pth file. Only an earlier result is replaced.",
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME|FILE.yaml", help="Recipe of the detector that the weights belong to."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE.json",
            help="Official configuration of the weights, as JSON: the complete configuration or its part `model`.",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes",
            metavar="FILE|DATASET",
            help="Class names in label order: a text file with one per line, a COCO file, or a dataset folder.",
        ),
    ] = None,
    to_official: Annotated[
        bool, typer.Option("--to-official", help="Write a model folder as an official checkpoint.")
    ] = False,
    assignments: SetOption = None,
) -> None:
    """Convert an official Co-DETR checkpoint to a model folder, or back. No code in the files is executed.

    Without [bold]--recipe[/] or [bold]--config[/] the configuration is the one in the checkpoint, or that of the recipe
    with exactly its keys and shapes. The report lists how every key was handled.

        [cyan]codetr convert co_dino_5scale_swin_large_16e_o365tococo.pth -o outputs/swin[/]

        [cyan]codetr convert r50.pth --recipe co_dino_5scale_r50_1x_lvis --classes lvis_v1_val.json -o outputs/r50[/]

        [cyan]codetr convert mine.pth --config mine.json -o outputs/mine[/]

        [cyan]codetr convert --to-official outputs/model -o model.pth[/]

    [bold]predict[/], [bold]evaluate[/], [bold]register[/] and fine-tuning accept the result like any other model.
    """
    from codetr.weights.official.class_names import read_names
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
                raise UserError("cannot be used with --to-official, which uses the model's settings", where=option)
        names = write_official(source, output)
        console().print(f"[bold]checkpoint[/] {plain(output)}, {len(names)} keys")
        return
    config_source = _config_source(recipe, config)
    _report(
        run(
            source,
            output,
            config_source=config_source,
            class_names=read_names(classes) if classes else None,
            assignments=assignments or (),
        ),
        output,
    )


def _config_source(recipe: str | None, config: Path | None) -> Callable[[int], ModelConfiguration] | None:
    """Return a function from the number of classes to the configuration that the options give, None without them."""
    from codetr.core.files import read_json
    from codetr.weights.official.identify import from_official_json, from_recipe

    if recipe is not None and config is not None:
        raise UserError("cannot be used together with --recipe", where="--config", hint="Give one of them.")
    if recipe is not None:
        recipe_settings = read_recipe(recipe)
        return lambda count: from_recipe(recipe_settings, count)
    if config is None:
        return None
    if config.suffix == ".py":
        hint = "Convert it where mmcv is installed: Config.fromfile('x.py').dump('x.json'). Or give --recipe."
        raise UserError("is Python code, which is not executed; expected JSON", where=str(config), hint=hint)
    content, path = read_json(config), config
    if not isinstance(content, dict):
        raise UserError("is not a configuration: expected a JSON object", where=str(config))
    return lambda count: from_official_json(content, path.stem, count, path.name)


def _report(conversion: Conversion, output: Path) -> None:
    from codetr.weights.model_folder import SUMMARY

    keys = conversion.keys
    rows = [
        ("configuration", conversion.configuration),
        ("recipe", conversion.info.recipe),
        ("classes", f"{len(conversion.classes.names)}, {conversion.classes.origin}"),
        ("keys converted", str(len(keys.converted))),
        ("keys missing", "none"),
        ("keys unexpected", "none"),
        ("buffers computed again", _count_and_examples(keys.constants)),
        ("averages skipped", _count_and_examples(keys.averages)),
        ("other content skipped", ", ".join(keys.left_out) or "none"),
    ]
    print_table(("", ""), rows)
    out = console()
    if not conversion.classes.known:
        out.print("[yellow]The classes are only numbered. Give their names with --classes.[/]")
    out.print(f"[bold]model[/] {plain(output)}; all keys: {plain(output / SUMMARY)}")


def _count_and_examples(names: tuple[str, ...]) -> str:
    return f"{len(names)}: {listed(names, _SHOWN)}" if names else "none"
