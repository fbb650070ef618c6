"""The options that say where annotations and images are, as settings of the prepare step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from codetr.core.errors import UserError

_PANEL = "Annotations and images"

TrainOption = Annotated[
    list[str] | None,
    typer.Option(
        "--train",
        metavar="FILE|FOLDER",
        help="Annotations to train on: a COCO-format JSON file, a Pascal VOC folder (or a list in its "
        "ImageSets/Main), or a YOLO data.yaml. Repeatable: several sources are merged, classes by name.",
        rich_help_panel=_PANEL,
    ),
]
ValOption = Annotated[
    list[str] | None,
    typer.Option(
        "--val",
        metavar="FILE|FOLDER",
        help="Annotations to evaluate on, likewise. If not given: what a VOC folder or data.yaml in --train lists; "
        "else [bold]prepare[/] draws them from the training set.",
        rich_help_panel=_PANEL,
    ),
]
TestOption = Annotated[
    list[str] | None,
    typer.Option(
        "--test", metavar="FILE|FOLDER", help="Annotations of a further split, likewise.", rich_help_panel=_PANEL
    ),
]
ImagesOption = Annotated[
    str | None,
    typer.Option(
        "--images",
        metavar="FOLDER|TAR|S3",
        help="What the annotations' file names are relative to: a folder or, for COCO, a .tar file or a folder of such "
        "files, which are read in place, or s3://BUCKET/PREFIX. Default: COCO, the current folder; VOC, its "
        "JPEGImages; YOLO, the [bold]path[/] of its data.yaml.",
        rich_help_panel=_PANEL,
    ),
]
TrainImagesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--train-images",
        metavar="FOLDER",
        help="The same, for the training split only; of several sources, one for each --train in their order.",
        rich_help_panel=_PANEL,
    ),
]
ValImagesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--val-images", metavar="FOLDER", help="The same, for the validation split only.", rich_help_panel=_PANEL
    ),
]
TestImagesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--test-images", metavar="FOLDER", help="The same, for the further split only.", rich_help_panel=_PANEL
    ),
]
RepoOption = Annotated[
    str | None,
    typer.Option(
        "--repo",
        metavar="FOLDER|URL",
        help="A DVC repository in which all these files lie, instead of here.",
        rich_help_panel=_PANEL,
    ),
]
RevOption = Annotated[
    str | None,
    typer.Option("--rev", metavar="REVISION", help="Branch, tag or commit of that repository.", rich_help_panel=_PANEL),
]


def split_sources(
    splits: Mapping[str, tuple[Sequence[str] | None, Sequence[str] | None]],
    *,
    images: str | None,
    repo: str | None,
    rev: str | None,
) -> dict[str, list[dict[str, Any]]]:
    """The sources of every split that is named.

    Args:
        splits: what `--SPLIT` and `--SPLIT-images` were given, each as often as it was, by split.
        images: the image folder of splits without one of their own.
        repo: the DVC repository in which all of it lies.
        rev: its revision.

    Raises:
        UserError: an option that belongs to another one which is not there, or not as many folders as sources.
    """
    sources = {
        split: [
            {"annotations": path, "images": folder, "repo": repo, "rev": rev}
            for path, folder in zip(paths, _folders(split, paths, own_images or [images]), strict=True)
        ]
        for split, (paths, own_images) in splits.items()
        if paths
    }
    for split, (_, own_images) in splits.items():
        if own_images and split not in sources:
            raise UserError(f"is given without --{split}", where=f"--{split}-images")
    for option, value in (("--images", images), ("--repo", repo), ("--rev", rev)):
        if value is not None and not sources:
            raise UserError("is given without --train, --val or --test, which it belongs to", where=option)
    return sources


def _folders(split: str, paths: Sequence[str], images: Sequence[str | None]) -> Sequence[str | None]:
    """The image folder of each source: one for all of them, or one each."""
    if len(images) not in (1, len(paths)):
        problem = f"is given {len(images)} times for {len(paths)} --{split}"
        raise UserError(problem, where=f"--{split}-images", hint="Give one for all sources, or one for each in order.")
    return [*images] * len(paths) if len(images) == 1 else images
