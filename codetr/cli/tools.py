"""The commands that surround the steps: predict, export, score, sample-data, zoo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codetr.cli.options import ModelOption
from codetr.cli.output import console, plain, print_table
from codetr.core.errors import UserError


def zoo(
    name: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="Print this recipe as YAML instead of the list.")
    ] = None,
) -> None:
    """The recipes there are, or all settings of one.

    AP is what the authors of Co-DETR report for a recipe's name on the val split of its dataset.

    [cyan]codetr zoo[/]

    [cyan]codetr zoo tiny > my.yaml[/], edit it, then [cyan]codetr train --recipe my.yaml …[/]
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


def predict(
    *,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE|VIDEO|FOLDER...",
            help="Images, videos, addresses of streams (- is standard input), and folders to look for images in.",
        ),
    ],
    model: ModelOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where predictions.json and the pictures go.")
    ],
    threshold: Annotated[
        float, typer.Option("--score", min=0, max=1, help="Leave out detections with a lower score.")
    ] = 0.3,
    tta: Annotated[
        bool, typer.Option("--tta", help="Look at every image at several sizes and mirrored: slower, and more exact.")
    ] = False,
    tile: Annotated[
        int | None,
        typer.Option("--tile", metavar="PIXELS", min=32, help="Look at large images in tiles of this side as well."),
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Stop after so many frames of each video or stream.")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="cpu, cuda:1, …; auto takes a GPU when there is one.")
    ] = "auto",
) -> None:
    """Detect objects in images and videos: predictions.json, and the images and videos with boxes drawn.

        [cyan]codetr predict -m outputs/model -o outputs/predictions photo.jpg more-photos/[/]

        [cyan]codetr predict -m outputs/registry@champion -o outputs/predictions --tile 1024 aerial.tif[/]

        [cyan]codetr predict -m outputs/model -o outputs/predictions clip.mp4[/]

        [cyan]codetr predict -m outputs/model -o outputs/predictions --frames 500 rtsp://camera/stream[/]

    Videos need an extra: [bold]pip install 'codetr\\[video]'[/]
    """
    from codetr.inference.config import TilesConfig, TTAConfig
    from codetr.inference.predict_files import PREDICTIONS
    from codetr.inference.predict_files import predict as run

    result = run(
        model,
        inputs,
        output,
        threshold=threshold,
        tta=TTAConfig() if tta else None,
        tiles=None if tile is None else TilesConfig(size=tile),
        frames=frames,
        device=device,
    )
    out = console()
    for skipped in result.skipped:
        out.print(f"[yellow]skipped {plain(skipped.file)}: {plain(skipped.reason)}[/]")
    parts = [f"{len(result.images)} images"] if result.images else []
    if result.videos:
        parts.append(f"{sum(video.frames for video in result.videos)} frames of {len(result.videos)} videos")
    out.print(f"{result.objects} objects in {' and '.join(parts)}: {plain(output / PREDICTIONS)}")
    if not result.objects:
        out.print("Nothing scored high enough; the evaluation's score_threshold is a good value for --score.")


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


def score(
    *,
    annotations: Annotated[Path, typer.Argument(metavar="ANNOTATIONS", help="A COCO or LVIS annotation file.")],
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Detections as a COCO result file.")],
    masks: Annotated[bool, typer.Option("--masks", help="Compare masks instead of boxes.")] = False,
) -> None:
    """COCO metrics of any result file, of this or another program, as JSON: pycocotools' numbers to the last digit.

    For an LVIS annotation file the metrics are LVIS's, equal to those of the package lvis.

    [cyan]codetr score instances_val2017.json results.json[/]
    """
    import json

    from codetr.evaluation.evaluate import evaluate_results
    from codetr.evaluation.metrics.coco import arrays
    from codetr.evaluation.tables.coco_json import check_masks, read_ground_truth, read_predictions

    ground_truth = read_ground_truth(annotations)
    predictions = read_predictions(results, ground_truth)
    if masks:
        check_masks(ground_truth, predictions, truth_file=str(annotations), results_file=str(results))
    truth, found = arrays(ground_truth, predictions, "segm" if masks else "bbox")
    metrics = evaluate_results(truth, found, "segm" if masks else "bbox")
    typer.echo(json.dumps(metrics.flat, indent=2))
