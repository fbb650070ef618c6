"""prepare: annotations and images, of any format, become a dataset folder that training and evaluation read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from codetr.core.code_version import code_version
from codetr.core.files import atomic_directory
from codetr.core.manifest import Manifest, require_output
from codetr.data.dataset.classes import CLASSES
from codetr.data.dataset.split import LOCATIONS
from codetr.data.ingest.build import draw_missing_splits, fetch_sources, read_splits, require_usable, write_splits
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.merge import CheckedSplit
from codetr.data.ingest.summary import REPORT, DatasetReport
from codetr.tracking import Tracker

_UNLISTED = (LOCATIONS, "sources")
"""What of a dataset is not in its manifest: images may move."""


def prepare(config: PrepareConfig, output: Path) -> Manifest:
    """Check annotations and images and write a dataset folder.

    Args:
        config: sources and settings.
        output: the dataset folder; an earlier one is replaced as a whole when everything went well.

    Returns:
        The manifest of the dataset. Its summary holds the main counts, `doctor.json` in the folder everything else.

    Raises:
        UserError: sources that are missing or of no known format, contradictory ids, too many unusable images, a split
            without a single usable annotation, or an output folder that holds something else. Lesser faults are
            repaired or dropped, and reported.
    """
    require_output(output, "dataset", unlisted=_UNLISTED)
    with Tracker.start("prepare", config=config.model_dump(mode="json")) as tracker:
        manifest = _write_dataset(config, output)
        tracker.summary(manifest.summary)
        # The index is of no use without the images, which stay where they are.
        tracker.produces(output, "dataset", only=(CLASSES, REPORT))
    return manifest


def _write_dataset(config: PrepareConfig, output: Path) -> Manifest:
    with atomic_directory(output) as unfinished:
        folder = unfinished.resolve()  # what is fetched from a repository lies in it, and must not seem to lead outside
        sources = fetch_sources(config, folder)
        splits, categories = read_splits(sources, config.max_lost_images)
        drawn = {name: share for name, share in config.drawn.items() if name not in sources}
        if drawn:
            splits = draw_missing_splits(splits, drawn, config)
        for name, split in splits.items():
            require_usable(name, split)
        report = write_splits(splits, categories, folder)
        settings = {"val_fraction", "seed", "max_lost_images", *(["test_fraction", "stratify"] if drawn else [])}
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
