"""The prepare step: check annotations and images of any format, and write the dataset folder for train and evaluate."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from codetr.core.code_version import code_version
from codetr.core.files import atomic_directory
from codetr.core.manifest import Manifest, require_output
from codetr.data.dataset.classes import CLASSES
from codetr.data.dataset.image_settings import ImageSettings
from codetr.data.dataset.split import LOCATIONS
from codetr.data.ingest.build import draw_missing_splits, fetch_sources, read_splits, require_usable, write_splits
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.leaks import find_leaks, require_few_leaks
from codetr.data.ingest.merge import CheckedSplit
from codetr.data.ingest.summary import REPORT, DatasetReport
from codetr.tracking import Tracker

_UNLISTED = (LOCATIONS, "sources")
"""Files of a dataset that are not in its manifest: images may move."""


def prepare(config: PrepareConfig, output: Path) -> Manifest:
    """Check annotations and images and write a dataset folder.

    Args:
        config: sources and settings.
        output: the dataset folder; an earlier one is replaced as a whole on success.

    Returns:
        The manifest of the dataset. Its summary has the main counts; `doctor.json` in the folder has all of them.

    Raises:
        UserError: sources that are missing or of unknown format, contradictory ids, too many unusable images or
            annotations, a split without a usable annotation, a val or test of images of train, or an output folder with
            other content. Other problems are repaired, or the records dropped, and reported.
    """
    require_output(output, "dataset", unlisted=_UNLISTED)
    with ExitStack() as tracked:
        with atomic_directory(output) as unfinished:
            folder = unfinished.resolve()  # files fetched from a repository are inside, and must not appear outside
            sources = fetch_sources(config, folder)
            splits, categories = read_splits(
                sources, config.max_lost, images=config.images, max_pixels=config.max_pixels
            )
            drawn = {name: share for name, share in config.drawn.items() if name not in sources}
            if drawn:
                splits = draw_missing_splits(splits, drawn, config)
            for name, split in splits.items():
                require_usable(name, split)
            find_leaks(splits)
            require_few_leaks(splits, config)
            # Only now: mistakes in the settings or the files are no runs.
            tracker = tracked.enter_context(Tracker.start("prepare", config=config.model_dump(mode="json")))
            manifest = _write_dataset(splits, categories, folder, config, drawn=bool(drawn))
        tracker.summary(manifest.summary)
        # The index cannot be used without the images, which are not copied.
        tracker.produces(output, "dataset", only=(CLASSES, REPORT))
    return manifest


def _write_dataset(
    splits: dict[str, CheckedSplit], categories: dict[int, str], folder: Path, config: PrepareConfig, *, drawn: bool
) -> Manifest:
    report = write_splits(splits, categories, folder, config.images)
    settings = {"val_fraction", "seed", "max_lost_images", *(["test_fraction", "stratify"] if drawn else [])}
    settings |= {"range_16bit"} if config.images != ImageSettings() else set()
    manifest = Manifest.of(
        folder,
        "dataset",
        code=code_version(__name__),
        exclude=_UNLISTED,
        inputs={key: value for split in splits.values() for key, value in split.inputs.items()},
        config=config.model_dump(mode="json", include=settings),
        summary=_summary(splits, categories, report),
    )
    manifest.write(folder)
    return manifest


def _summary(splits: dict[str, CheckedSplit], categories: dict[int, str], report: DatasetReport) -> dict[str, Any]:
    return {
        "classes": len(categories),
        "advice": report.advice,
        **{
            name: {
                "images": len(split.images),
                "annotations": len(split.objects),
                "dropped_images": split.listed_images - len(split.images),
                "dropped_annotations": split.listed_annotations - len(split.objects),
            }
            for name, split in splits.items()
        },
    }
