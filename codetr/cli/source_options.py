"""The options for annotations and images, and their conversion to settings of the prepare step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from codetr.cli.option_groups import OptionGroup
from codetr.core.errors import UserError


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
            help="How the boxes of COCO files are written, if not as x, y, width, height in pixels: xyxy, cxcywh, "
            "relative_xywh, relative_xyxy or relative_cxcywh. They are converted.",
        ),
    ] = None

    def by_split(self) -> dict[str, list[dict[str, Any]]]:
        """Return the sources of every split that is given, as settings of the prepare step.

        Raises:
            UserError: an option without the one it belongs to, or not as many image folders as sources.
        """
        given = {
            "train": (self.train, self.train_images),
            "val": (self.val, self.val_images),
            "test": (self.test, self.test_images),
        }
        sources = {
            split: [
                {
                    "annotations": path,
                    "images": folder,
                    "repo": self.repo,
                    "rev": self.rev,
                    "link_targets": tuple(self.link_targets or ()),
                    "boxes": self.boxes or "xywh",
                }
                for path, folder in zip(paths, _folders(split, paths, images or [self.images]), strict=True)
            ]
            for split, (paths, images) in given.items()
            if paths
        }
        for split, (_, images) in given.items():
            if images and split not in sources:
                raise UserError(f"needs --{split}", where=f"--{split}-images")
        for option in ("images", "repo", "rev", "link_targets", "boxes"):
            if getattr(self, option) is not None and not sources:
                raise UserError("needs --train, --val or --test", where=f"--{option.replace('_', '-')}")
        return sources


def _folders(split: str, paths: Sequence[str], images: Sequence[str | None]) -> Sequence[str | None]:
    """Return the image folder of each source: one for all of them, or one each."""
    if len(images) not in (1, len(paths)):
        problem = f"is given {len(images)} times for {len(paths)} --{split}"
        raise UserError(
            problem, where=f"--{split}-images", hint="Give one for all sources, or one for each in the same order."
        )
    return [*images] * len(paths) if len(images) == 1 else images
