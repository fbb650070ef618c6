"""Recipes by name: one function each, small deltas from a base.

A recipe is a plain function that returns a `Recipe`; this table is the only place that lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from codetr.errors import UserError
from codetr.recipe import Recipe
from codetr.zoo.co_deformable_detr import co_deformable_detr_mask_r50_1x_coco, co_deformable_detr_r50_1x_coco
from codetr.zoo.co_dino import co_dino_5scale_r50_1x_coco
from codetr.zoo.tiny import tiny


@dataclass(frozen=True)
class Entry:
    """A recipe and what was published about it.

    Attributes:
        build: makes the recipe.
        dataset: what its settings were made for.
        published_ap: box AP on COCO val2017 reported by the authors, None where there is none.
    """

    build: Callable[[], Recipe]
    dataset: str
    published_ap: float | None


# AP: the model zoo of the official repository.
ENTRIES: dict[str, Entry] = {
    "co_deformable_detr_r50_1x_coco": Entry(co_deformable_detr_r50_1x_coco, "COCO", 49.3),
    "co_deformable_detr_mask_r50_1x_coco": Entry(co_deformable_detr_mask_r50_1x_coco, "COCO", None),
    "co_dino_5scale_r50_1x_coco": Entry(co_dino_5scale_r50_1x_coco, "COCO", 52.1),
    "tiny": Entry(tiny, "drawn samples", None),
}


def names() -> list[str]:
    """Names of all recipes."""
    return list(ENTRIES)


def recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        UserError: there is none; the message lists those there are.
    """
    if name not in ENTRIES:
        raise UserError(f"there is no recipe '{name}'", hint=f"Recipes: {', '.join(ENTRIES)}.")
    return ENTRIES[name].build()
