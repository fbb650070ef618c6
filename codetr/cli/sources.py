"""The options that say where annotations and images are, as settings of the prepare step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codetr.errors import UserError


def split_sources(
    splits: Mapping[str, tuple[str | None, str | None]], *, images: str | None, repo: str | None, rev: str | None
) -> dict[str, dict[str, Any]]:
    """The source of every split that is named.

    Args:
        splits: what `--SPLIT` and `--SPLIT-images` were given, by split.
        images: the image folder of splits without one of their own.
        repo: the DVC repository in which all of it lies.
        rev: its revision.

    Raises:
        UserError: an option that belongs to another one which is not there.
    """
    sources = {
        split: {"annotations": annotations, "images": own_images or images or ".", "repo": repo, "rev": rev}
        for split, (annotations, own_images) in splits.items()
        if annotations is not None
    }
    for split, (_, own_images) in splits.items():
        if own_images is not None and split not in sources:
            raise UserError(f"is given without --{split}", where=f"--{split}-images")
    for option, value in (("--images", images), ("--repo", repo), ("--rev", rev)):
        if value is not None and not sources:
            raise UserError("is given without --train, --val or --test, which it belongs to", where=option)
    return sources
