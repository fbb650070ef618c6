"""`codetr show`: pictures of a dataset's labels, or of what training is fed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codetr.cli.dataset_argument import DatasetArgument, dataset_or_sources, fetched_dataset
from codetr.cli.option_groups import OptionGroup, expand_option_groups
from codetr.cli.output import console, plain
from codetr.cli.settings_options import ParamsOption, SetOption
from codetr.cli.source_options import SourceOptions
from codetr.core.errors import UserError
from codetr.core.text import counted
from codetr.steps.settings import chosen_recipe

if TYPE_CHECKING:
    from codetr.data.dataset.split import Split
    from codetr.gallery.write import Pictures
    from codetr.zoo.recipe import Recipe

LABELS = "Solid lines: trained on. Dashed: evaluated only. Grey: crowd regions."
BATCHES = "Images and targets as the detector gets them. Dashed: the image within its padding."


@dataclass(frozen=True, kw_only=True)
class ImageOptions(OptionGroup, panel="Images to show"):
    """Which images `codetr show` draws."""

    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="train, val or test. Default: train.")
    ] = None
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="NAME",
            help="Only images with this class, and only these objects. Repeatable.",
        ),
    ] = None
    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image",
            metavar="NAME",
            help="Only this image: its file, as in the annotations, or without folders or suffix; its id; or a pattern "
            "such as 'street_*'. Repeatable.",
        ),
    ] = None
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Largest number of images; of more, a sample is drawn.")
    ] = 16
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", min=0, help="Draw another sample; with --augmented, replaces the seed of the recipe."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class BatchOptions(OptionGroup, panel="Training batches"):
    """The recipe whose batches `codetr show --augmented` draws."""

    augmented: Annotated[
        bool,
        typer.Option("--augmented", help="Show the first training batches instead of the labels."),
    ] = False
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME|FILE.yaml", help="The recipe that augments; with --augmented."),
    ] = None

    def read_recipe(self, params: Path | None, assignments: list[str] | None, chosen: ImageOptions) -> Recipe | None:
        """Return the recipe; None to show labels.

        Raises:
            UserError: an option that belongs to the other kind of pictures; see also `chosen_recipe`.
        """
        if self.augmented:
            for option, value in (("--class", chosen.classes), ("--image", chosen.image)):
                if value:
                    hint = "Batches hold the images that training draws; --limit and --seed choose among them."
                    raise UserError("cannot be combined with --augmented", where=option, hint=hint)
            if chosen.split not in (None, "train"):
                raise UserError(f"'{chosen.split}' is not augmented, only train is", where="--split")
            return chosen_recipe(self.recipe, params, assignments)
        for option, given in (("--recipe", self.recipe), ("--set", assignments)):
            if given:
                raise UserError("needs --augmented", where=option)
        return None


@expand_option_groups
def show(
    *,
    dataset: DatasetArgument = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER",
            help="A page (.html), one picture with all images (.jpg or .png), or a folder for a picture of each.",
        ),
    ],
    chosen: ImageOptions,
    batches: BatchOptions,
    sources: SourceOptions,
    params: ParamsOption = None,
    assignments: SetOption = None,
) -> None:
    """Draw the labels of a dataset, or the augmented images that training is fed.

        [cyan]codetr show outputs/dataset -o labels.html[/]

        [cyan]codetr show outputs/dataset -o people.jpg --split val --class person --limit 9[/]

        [cyan]codetr show train.json --images images -o labels/ --image 'street_*'[/]

        [cyan]codetr show outputs/dataset -o batches.html --augmented --recipe tiny --set loader.batch_size=8[/]

    With [bold]--augmented[/], images, boxes and masks are those of the first epoch of [bold]codetr train[/] with the
    same recipe and settings in one process, after augmentation and padding.
    """
    recipe = batches.read_recipe(params, assignments, chosen)
    prepared, settings = dataset_or_sources(
        dataset, sources, params, command="show", params_names_recipe=recipe is not None
    )
    from codetr.gallery.write import output_kind, write_pictures

    output_kind(output)  # before minutes of reading
    with fetched_dataset(prepared, settings) as (folder, fetched):
        if settings is not None:
            from codetr.data.ingest.build import index_sources
            from codetr.data.ingest.max_lost import MaxLost
            from codetr.data.ingest.summary import read_report
            from codetr.doctor.terminal import print_errors

            some = MaxLost(images=1 - 1e-9)  # without a single image there is nothing to draw
            index_sources(fetched, folder, max_lost=some, images=settings.images, max_pixels=settings.max_pixels)
            print_errors(read_report(folder).findings, console())
        from codetr.data.dataset.split import Split

        split = Split.open(folder, chosen.split or "train")
        matching = None
        if recipe is None:
            pictures, count, matching = _labels(split, chosen)
        else:
            pictures, count = _batches(split, recipe, chosen)
        written = write_pictures(
            pictures,
            count,
            output,
            title=f"{(dataset or Path(split.name)).resolve().name}: {'training batches' if recipe else split.name}",
            names=split.names,
            note=LABELS if recipe is None else BATCHES,
        )
    if recipe is None:
        all_images = counted(len(split), "image")
        what = f"{written} of {all_images} of the split '{split.name}'"
        if matching is not None and matching < len(split):
            what = f"{written} of {matching} matching, of {all_images} of the split '{split.name}'"
    else:
        what = f"{counted(written, 'image')} of training batches"
    console().print(f"{plain(what)}: {plain(output)}")


def _labels(split: Split, options: ImageOptions) -> tuple[Pictures, int, int]:
    from codetr.gallery.labels import draw_sample, label_pictures, matching_images

    classes = options.classes or ()
    matching = matching_images(split, classes=classes, images=options.image or ())
    chosen = draw_sample(matching, options.limit, options.seed or 0)
    return partial(label_pictures, split, chosen, classes), len(chosen), len(matching)


def _batches(split: Split, recipe: Recipe, options: ImageOptions) -> tuple[Pictures, int]:
    from codetr.gallery.batches import batch_loader, batch_pictures

    if not isinstance(recipe.loader.batch_size, int):
        hint = "Give a number: --set loader.batch_size=2."
        raise UserError("is chosen when training starts", where="loader.batch_size", hint=hint)
    batches = batch_loader(
        split,
        recipe.augment,
        recipe.preprocess,
        recipe.loader,
        seed=recipe.training.seed if options.seed is None else options.seed,
        accumulate=recipe.training.accumulate,
        with_masks=recipe.model.needs_masks,
    )
    count = min(options.limit, len(batches) * recipe.loader.batch_size)
    return partial(batch_pictures, split, batches, recipe.preprocess, count), count
