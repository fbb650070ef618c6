"""The recipes by name, and the published results of each.

A recipe is a function that returns a `Recipe`; `ENTRIES` lists all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from codetr.core.errors import UserError, did_you_mean
from codetr.zoo import co_deformable_detr, co_dino_r50, co_dino_swin, co_dino_vit
from codetr.zoo.recipe import Recipe
from codetr.zoo.tiny import tiny


@dataclass(frozen=True)
class ZooEntry:
    """A recipe and its published results.

    Attributes:
        build: returns the recipe.
        dataset: dataset that the recipe is for.
        parameters: number of parameters of the detector, for the classes of that dataset.
        box_ap: box AP in percent on the val split of that dataset, as the authors report it; None if they do not.
        mask_ap: mask AP in percent, of the same source.
    """

    build: Callable[[], Recipe]
    dataset: str
    parameters: int
    box_ap: float | None = None
    mask_ap: float | None = None


# AP: the model zoo of the official repository.
_ENTRIES = (
    ZooEntry(co_deformable_detr.co_deformable_detr_r50_1x_coco, "COCO", 65_129_894, 49.5),
    ZooEntry(co_deformable_detr.co_deformable_detr_mask_r50_1x_coco, "COCO", 67_773_174),
    ZooEntry(co_deformable_detr.co_deformable_detr_swin_tiny_1x_coco, "COCO", 65_619_808, 51.7),
    ZooEntry(co_deformable_detr.co_deformable_detr_swin_tiny_3x_coco, "COCO", 65_619_808, 54.1),
    ZooEntry(co_deformable_detr.co_deformable_detr_swin_small_1x_coco, "COCO", 86_937_712, 53.4),
    ZooEntry(co_deformable_detr.co_deformable_detr_swin_small_3x_coco, "COCO", 86_937_712, 55.3),
    ZooEntry(co_deformable_detr.co_deformable_detr_swin_base_1x_coco, "COCO", 125_683_934, 55.5),
    ZooEntry(co_deformable_detr.co_deformable_detr_swin_base_3x_coco, "COCO", 125_683_934, 57.5),
    ZooEntry(co_deformable_detr.co_deformable_detr_swin_large_1x_coco, "COCO", 235_413_658, 56.9),
    ZooEntry(co_deformable_detr.co_deformable_detr_swin_large_900q_3x_coco, "COCO", 235_567_258, 58.5),
    ZooEntry(co_dino_r50.co_dino_5scale_r50_1x_coco, "COCO", 65_204_005, 52.1),
    ZooEntry(co_dino_r50.co_dino_5scale_lsj_r50_1x_coco, "COCO", 65_204_005, 52.1),
    ZooEntry(co_dino_r50.co_dino_5scale_lsj_r50_3x_coco, "COCO", 65_204_005, 54.8),
    ZooEntry(co_dino_r50.co_dino_5scale_9encoder_lsj_r50_1x_coco, "COCO", 69_124_549, 52.6),
    ZooEntry(co_dino_r50.co_dino_5scale_9encoder_lsj_r50_3x_coco, "COCO", 69_124_549, 55.4),
    ZooEntry(co_dino_r50.co_dino_5scale_r50_1x_lvis, "LVIS", 75_855_660),
    ZooEntry(co_dino_r50.co_dino_5scale_lsj_r50_1x_lvis, "LVIS", 75_855_660),
    ZooEntry(co_dino_swin.co_dino_5scale_swin_large_1x_coco, "COCO", 235_471_769, 58.9),
    ZooEntry(co_dino_swin.co_dino_5scale_swin_large_2x_coco, "COCO", 235_471_769, 59.8),
    ZooEntry(co_dino_swin.co_dino_5scale_swin_large_3x_coco, "COCO", 235_471_769, 60.0),
    ZooEntry(co_dino_swin.co_dino_5scale_lsj_swin_large_1x_coco, "COCO", 235_471_769, 59.3),
    ZooEntry(co_dino_swin.co_dino_5scale_lsj_swin_large_2x_coco, "COCO", 235_471_769, 60.4),
    ZooEntry(co_dino_swin.co_dino_5scale_lsj_swin_large_3x_coco, "COCO", 235_471_769, 60.7),
    ZooEntry(co_dino_swin.co_dino_5scale_swin_large_16e_o365tococo, "COCO", 235_471_769, 64.1),
    ZooEntry(co_dino_swin.co_dino_5scale_lsj_swin_large_3x_lvis, "LVIS", 246_123_424, 56.9),
    ZooEntry(co_dino_swin.co_dino_5scale_lsj_swin_large_16e_o365tolvis, "LVIS", 246_123_424, 64.5),
    ZooEntry(co_dino_vit.co_dino_5scale_vit_large_coco, "COCO", 365_367_657, 65.9),
    ZooEntry(co_dino_vit.co_dino_5scale_vit_large_coco_instance, "COCO", 384_026_919, 65.8, 56.6),
    ZooEntry(co_dino_vit.co_dino_5scale_lsj_vit_large_lvis, "LVIS", 374_877_868, 68.0),
    ZooEntry(co_dino_vit.co_dino_5scale_lsj_vit_large_lvis_instance, "LVIS", 395_194_678, 67.3, 60.7),
    ZooEntry(tiny, "drawn samples", 3_441_065),
)
ENTRIES: dict[str, ZooEntry] = {entry.build.__name__: entry for entry in _ENTRIES}


def names() -> list[str]:
    """Return the names of all recipes."""
    return list(ENTRIES)


def recipe(name: str) -> Recipe:
    """Build the recipe called `name`.

    Raises:
        UserError: there is no such recipe; the message names similar ones.
    """
    if name not in ENTRIES:
        hint = f"{did_you_mean(name, ENTRIES)}`codetr zoo` lists all recipes; `tiny` is for a first try."
        raise UserError(f"there is no recipe '{name}'", hint=hint)
    return ENTRIES[name].build()
