"""The options of `prepare` and `doctor` for annotations and images, as settings of the prepare step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from codetr.core.errors import UserError, did_you_mean
from codetr.data.config import BOX_FORMATS


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
    train_boxes: Sequence[str] | None = None,
    val_boxes: Sequence[str] | None = None,
    test_boxes: Sequence[str] | None = None,
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
        boxes: how the boxes of the COCO files of all splits are written; None for x, y, width, height in pixels.
        train_boxes: how those of the training split are written: one format for all its sources, or one each.
        val_boxes: the same for the validation split.
        test_boxes: the same for the test split.

    Raises:
        UserError: an option without the one it belongs to, an unknown box format, or not as many image folders or box
            formats as sources.
    """
    given = {
        "train": (train, train_images, train_boxes),
        "val": (val, val_images, val_boxes),
        "test": (test, test_images, test_boxes),
    }
    _require_box_formats(
        {"boxes": [boxes] if boxes else [], **{f"{split}-boxes": of[2] for split, of in given.items()}}
    )
    sources = {
        split: [
            {
                "annotations": path,
                "images": folder,
                "repo": repo,
                "rev": rev,
                "link_targets": tuple(link_targets or ()),
                "boxes": box_format or "xywh",
            }
            for path, folder, box_format in zip(
                paths,
                _one_each(split, "images", paths, folders or [images]),
                _one_each(split, "boxes", paths, formats or [boxes]),
                strict=True,
            )
        ]
        for split, (paths, folders, formats) in given.items()
        if paths
    }
    for split, (_, folders, formats) in given.items():
        for option, values in (("images", folders), ("boxes", formats)):
            if values and split not in sources:
                raise UserError(f"needs --{split}", where=f"--{split}-{option}")
    common = {"images": images, "repo": repo, "rev": rev, "link-targets": link_targets, "boxes": boxes}
    for option, value in common.items():
        if value is not None and not sources:
            raise UserError("needs --train, --val or --test", where=f"--{option}")
    return sources


def _one_each(split: str, option: str, paths: Sequence[str], values: Sequence[str | None]) -> Sequence[str | None]:
    """Return the value of an option for each source of a split: one for all of them, or one each."""
    if len(values) not in (1, len(paths)):
        problem = f"is given {len(values)} times for {len(paths)} --{split}"
        raise UserError(
            problem, where=f"--{split}-{option}", hint="Give one for all sources, or one for each in the same order."
        )
    return [*values] * len(paths) if len(values) == 1 else values


def _require_box_formats(given: Mapping[str, Sequence[str] | None]) -> None:
    for option, formats in given.items():
        for value in formats or ():
            if value not in BOX_FORMATS:
                hint = f"{did_you_mean(value, BOX_FORMATS)}Formats: {', '.join(BOX_FORMATS)}."
                raise UserError(f"'{value}' is no format of boxes", where=f"--{option}", hint=hint)
