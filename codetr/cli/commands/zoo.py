"""`codetr zoo`: list the recipes, or print one."""

from __future__ import annotations

from typing import Annotated

import typer

from codetr.cli.output import print_table


def zoo(
    name: Annotated[str | None, typer.Argument(metavar="RECIPE", help="Print this recipe as YAML.")] = None,
) -> None:
    """List the recipes, or print one as YAML.

    AP is the value that the authors of Co-DETR report for the configuration of this name, on the val split of its
    dataset.

    Print a recipe to change it, and train with the file:

    [cyan]codetr zoo tiny > my.yaml[/]
    [cyan]codetr train --recipe my.yaml -d outputs/dataset -o outputs/model[/]
    """
    from codetr import zoo as recipes
    from codetr.zoo.detectors import backbone_name

    if name is None:
        print_table(
            ("recipe", "backbone", "dataset", "masks", "parameters", "box AP", "mask AP"),
            [
                (
                    name,
                    backbone_name(recipe.model.backbone),
                    entry.dataset,
                    "yes" if recipe.model.gives_masks else "no",
                    f"{entry.parameters / 1e6:.1f} M",
                    entry.box_ap,
                    entry.mask_ap,
                )
                for name, entry in recipes.ENTRIES.items()
                for recipe in (entry.build(),)
            ],
        )
        return
    import yaml

    values = recipes.recipe(name).model_dump(mode="json")
    typer.echo(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), nl=False)
