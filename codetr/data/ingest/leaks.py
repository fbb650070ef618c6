"""Find images that are in several splits, and refuse a val or test that is mostly in train."""

from __future__ import annotations

import os
from collections.abc import Mapping

from codetr.core.errors import UserError
from codetr.data.config import SourceConfig
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.merge import CheckedSplit


def find_leaks(splits: Mapping[str, CheckedSplit]) -> None:
    """Add images that are in an earlier split, too, to the findings of each split."""
    earlier: dict[str, str] = {}
    for name, split in splits.items():
        in_split: dict[str, str] = {}
        for image in split.images:
            if image.digest in earlier and image.digest not in in_split:
                example = f"image {image.image_id} '{image.path}' and {earlier[image.digest]}"
                split.findings.add("image_leaked", example)
            in_split.setdefault(image.digest, f"'{image.path}' of {name}")
        earlier = in_split | earlier


def require_few_leaks(splits: Mapping[str, CheckedSplit], config: PrepareConfig) -> None:
    """Raise `UserError` if val or test has more images of train than `max_leaked_images`.

    Whoever names the sources of train for it, for example to see whether a detector can learn a few images by heart,
    knows that: it is only reported.

    Args:
        splits: all splits, train among them.
        config: the sources, and the limit.
    """
    trained = {image.digest: image.path for image in splits["train"].images}
    for name, split in splits.items():
        if names_train(config, name):
            continue
        images = {image.digest: image.path for image in split.images}
        leaked = [digest for digest in images if digest in trained]
        if len(leaked) > config.max_leaked_images * len(images):
            example = f"'{images[leaked[0]]}', which is '{trained[leaked[0]]}' of train"
            hint = (
                f"Metrics on '{name}' would be those of images that the model has learned. Keep every image in one "
                "split (`codetr doctor --fix` does), or raise max_leaked_images."
            )
            problem = f"{len(leaked)} of the {len(images)} images of '{name}' are also in train, e.g. {example}"
            raise UserError(problem, where=split.where, hint=hint)


def names_train(config: PrepareConfig, split: str) -> bool:
    """Return whether a split is train, or given by sources of train."""
    named = {_key(source) for source in config.train}
    sources = getattr(config, split)
    return bool(sources) and all(_key(source) in named for source in sources)


def _key(source: SourceConfig) -> tuple[str, ...]:
    return os.path.normpath(source.annotations), source.repo or "", source.rev or ""
