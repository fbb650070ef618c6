"""The options of `prepare` and `doctor` for annotations and images, as settings of the prepare step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from codetr.core.errors import UserError


def sources_by_split(
    *,
    train: Sequence[str] | None = None,
    val: Sequence[str] | None = None,
    test: Sequence[str] | None = None,
    images: str | None = None,
    train_images: Sequence[str] | None = None,
    val_images: Sequence[str] | None = None,
    test_images: Sequence[str] | None = None,
    repo: str | None = None,
    rev: str | None = None,
    link_targets: Sequence[str] | None = None,
    boxes: str | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Return the sources of every split that is given, as settings of the prepare step.

    Args:
        train: annotations of the training split: files or folders.
        val: those of the validation split.
        test: those of the test split.
        images: where the images of all splits are.
        train_images: where those of the training split are: one for all its sources, or one each.
        val_images: the same for the validation split.
        test_images: the same for the test split.
        repo: a DVC repository that holds all these files.
        rev: a revision of it.
        link_targets: folders to which symbolic links may lead.
        boxes: how the boxes of COCO files are written; None for x, y, width, height in pixels.

    Raises:
        UserError: an option without the one it belongs to, or not as many image folders as sources.
    """
    given = {"train": (train, train_images), "val": (val, val_images), "test": (test, test_images)}
    sources = {
        split: [
            {
                "annotations": path,
                "images": folder,
                "repo": repo,
                "rev": rev,
                "link_targets": tuple(link_targets or ()),
                "boxes": boxes or "xywh",
            }
            for path, folder in zip(paths, _folders(split, paths, folders or [images]), strict=True)
        ]
        for split, (paths, folders) in given.items()
        if paths
    }
    for split, (_, folders) in given.items():
        if folders and split not in sources:
            raise UserError(f"needs --{split}", where=f"--{split}-images")
    common = {"images": images, "repo": repo, "rev": rev, "link-targets": link_targets, "boxes": boxes}
    for option, value in common.items():
        if value is not None and not sources:
            raise UserError("needs --train, --val or --test", where=f"--{option}")
    return sources


def _folders(split: str, paths: Sequence[str], images: Sequence[str | None]) -> Sequence[str | None]:
    """Return the image folder of each source: one for all of them, or one each."""
    if len(images) not in (1, len(paths)):
        problem = f"is given {len(images)} times for {len(paths)} --{split}"
        raise UserError(
            problem, where=f"--{split}-images", hint="Give one for all sources, or one for each in the same order."
        )
    return [*images] * len(paths) if len(images) == 1 else images
