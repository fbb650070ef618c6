"""The options for annotations and images, and their conversion to settings of the prepare step."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

import typer

from codetr.cli.option_groups import OptionGroup
from codetr.steps.sources import sources_by_split


@dataclass(frozen=True, kw_only=True)
class SourceOptions(OptionGroup, panel="Annotations and images"):
    """Annotation files and image folders of every split, here or in a DVC repository."""

    train: Annotated[
        list[str] | None,
        typer.Option(
            "--train",
            metavar="FILE|FOLDER",
            help="Annotations to train on: a COCO-format JSON file, a Pascal VOC folder (or a list in its "
            "ImageSets/Main), or a YOLO data.yaml. Repeatable: several sources are merged, classes by name.",
        ),
    ] = None
    val: Annotated[
        list[str] | None,
        typer.Option(
            "--val",
            metavar="FILE|FOLDER",
            help="Annotations to evaluate on, in the same formats. Default: the validation set that a VOC folder or "
            "data.yaml in --train lists; else [bold]prepare[/] draws it from the training set.",
        ),
    ] = None
    test: Annotated[
        list[str] | None,
        typer.Option("--test", metavar="FILE|FOLDER", help="Annotations of a test split, in the same formats."),
    ] = None
    images: Annotated[
        str | None,
        typer.Option(
            "--images",
            metavar="FOLDER|TAR|S3",
            help="Where the images are: a folder or, for COCO, a .tar file, a folder of .tar files, or "
            "s3://BUCKET/PREFIX. Default: for COCO the current folder or one near the file, whichever has most of the "
            "images, for VOC its JPEGImages, for YOLO the [bold]path[/] of its data.yaml.",
        ),
    ] = None
    train_images: Annotated[
        list[str] | None,
        typer.Option(
            "--train-images",
            metavar="FOLDER",
            help="The same for the training split only; with several sources, one for each --train in order.",
        ),
    ] = None
    val_images: Annotated[
        list[str] | None,
        typer.Option("--val-images", metavar="FOLDER", help="The same for the validation split only."),
    ] = None
    test_images: Annotated[
        list[str] | None,
        typer.Option("--test-images", metavar="FOLDER", help="The same for the test split only."),
    ] = None
    repo: Annotated[
        str | None,
        typer.Option("--repo", metavar="FOLDER|URL", help="A DVC repository that holds all these files."),
    ] = None
    rev: Annotated[
        str | None,
        typer.Option("--rev", metavar="REVISION", help="Branch, tag or commit of that repository."),
    ] = None
    link_targets: Annotated[
        list[str] | None,
        typer.Option(
            "--link-targets",
            metavar="FOLDER",
            help="A folder to which symbolic links in the folders of images and annotations may lead. Repeatable. "
            "Links within the folders, and to the cache of their DVC repository, are always followed.",
        ),
    ] = None

    boxes: Annotated[
        str | None,
        typer.Option(
            "--boxes",
            metavar="FORMAT",
            help="How the boxes of the COCO files of all splits are written, if not as x, y, width, height in pixels: "
            "xyxy, cxcywh, relative_xywh, relative_xyxy or relative_cxcywh. They are converted.",
        ),
    ] = None
    train_boxes: Annotated[
        list[str] | None,
        typer.Option(
            "--train-boxes",
            metavar="FORMAT",
            help="The same for the training split only; with several sources, one for each --train in order.",
        ),
    ] = None
    val_boxes: Annotated[
        list[str] | None,
        typer.Option("--val-boxes", metavar="FORMAT", help="The same for the validation split only."),
    ] = None
    test_boxes: Annotated[
        list[str] | None,
        typer.Option("--test-boxes", metavar="FORMAT", help="The same for the test split only."),
    ] = None

    def by_split(self) -> dict[str, list[dict[str, Any]]]:
        """Return the sources of every split that is given, see `sources_by_split`."""
        return sources_by_split(**{field.name: getattr(self, field.name) for field in fields(self)})
