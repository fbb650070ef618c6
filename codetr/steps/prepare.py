"""The prepare step: check annotations and images of any format, and write the dataset folder for train and evaluate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from codetr.core.code_version import code_version
from codetr.core.files import atomic_directory
from codetr.core.manifest import Manifest, require_output
from codetr.data.dataset.classes import CLASSES
from codetr.data.dataset.image_settings import ImageSettings
from codetr.data.dataset.split import LOCATIONS
from codetr.data.formats.open_source import Source
from codetr.data.ingest.build import (
    draw_missing_splits,
    fetch_sources,
    read_splits,
    require_usable,
    write_locations,
    write_splits,
)
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.leaks import find_leaks, names_train, require_few_leaks
from codetr.data.ingest.merge import CheckedSplit
from codetr.data.ingest.source_contents import SourceContents, list_sources, read_listed_images
from codetr.data.ingest.source_record import SOURCES, record_sources, require_same_sources
from codetr.data.ingest.summary import REPORT, DatasetReport
from codetr.steps.result_key import ResultKey
from codetr.steps.store import ResultStore, log_hit
from codetr.steps.stored_result import StoredResult
from codetr.tracking import Tracker

_UNLISTED = (LOCATIONS, SOURCES, "sources")
"""Files of a dataset that are not in its manifest: images may move."""


_SPLITS = ("train", "val", "test")


def prepare(
    config: PrepareConfig,
    output: Path,
    *,
    overwrite: bool = False,
    store: ResultStore | None = None,
    fresh: bool = False,
) -> Manifest:
    """Check annotations and images and write a dataset folder.

    Args:
        config: sources and settings.
        output: the dataset folder; an earlier one of the same training annotations is replaced as a whole on success.
        overwrite: replace a dataset of other annotations too.
        store: where the result is looked for before, and stored after; None for no store.
        fresh: do not look for a stored result.

    Returns:
        The manifest of the dataset. Its summary has the main counts; `doctor.json` in the folder has all of them.

    Raises:
        UserError: sources that are missing or of unknown format, contradictory ids, too many unusable images or
            annotations, a split without a usable annotation, a val or test of images of train, or an output folder with
            another dataset or other content; or the store cannot be used. Other problems are repaired, or the records
            dropped, and reported.
    """
    require_output(output, "dataset", unlisted=_UNLISTED)
    if not overwrite:
        require_same_sources(output, config)
    contents = None if store is None else SourceContents()
    with ExitStack() as tracked:
        with atomic_directory(output) as unfinished:
            folder = unfinished.resolve()  # files fetched from a repository are inside, and must not appear outside
            sources = fetch_sources(config, folder)
            stored = None if store is None or fresh else _stored(config, sources, folder, store)
            record_sources(folder, config)
            if stored is None:
                splits, categories = read_splits(
                    sources, config.max_lost, images=config.images, max_pixels=config.max_pixels, contents=contents
                )
                drawn = {name: share for name, share in config.drawn.items() if name not in sources}
                if drawn:
                    splits = draw_missing_splits(splits, drawn, config)
                for name, split in splits.items():
                    require_usable(name, split)
                find_leaks(splits)
                require_few_leaks(splits, config)
                # Only now: mistakes in the settings or the files are no runs.
                tracker = tracked.enter_context(Tracker.start("prepare", output, config=config.model_dump(mode="json")))
                manifest = _write_dataset(splits, categories, folder, config, drawn=bool(drawn))
        if stored is not None:
            log_hit(output, stored)
            return Manifest.read(output, "dataset")
        tracker.summary(manifest.summary)
        # The index cannot be used without the images, which are not copied.
        tracker.produces(output, "dataset", only=(CLASSES, REPORT))
        if store is not None and contents is not None:
            lists, key = _keys(config, contents)
            store.publish(key, output, group=lists.digest, tracking=tracker.location)
    return manifest


def _stored(
    config: PrepareConfig, sources: Mapping[str, Sequence[Source]], folder: Path, store: ResultStore
) -> StoredResult | None:
    """Add the stored dataset of the same contents to a folder; return its record, None if there is none.

    Images are read only if a dataset of the same annotations is stored.
    """
    contents = SourceContents()
    listed = list_sources(sources, contents)
    lists, _ = _keys(config, contents)
    if not store.has_group("dataset", lists.digest):
        return None
    for several in listed.values():
        for source in several:
            read_listed_images(source)
    _, key = _keys(config, contents)
    stored = store.fetch(key, folder, group=lists.digest)
    if stored is not None:
        # The images of a split that was drawn are where those of train are.
        roots = {split: [source.root for source in several] for split, several in listed.items()}
        names = [name for name in _SPLITS if any(file.startswith(f"{name}/") for file in stored.files)]
        write_locations(folder, {name: roots.get(name, roots["train"]) for name in names})
    return stored


def _keys(config: PrepareConfig, contents: SourceContents) -> tuple[ResultKey, ResultKey]:
    """Return the key of datasets with the same annotations, and that of those whose images are the same too."""
    settings = config.model_dump(mode="json", exclude=set(_SPLITS))
    # Whoever names the sources of train for val knows that they are the same.
    settings["names_train"] = [name for name in _SPLITS if names_train(config, name)]
    lists = ResultKey.of_step("dataset", __name__, inputs={"annotations": contents.annotations}, settings=settings)
    return lists, replace(lists, inputs={**lists.inputs, "images": contents.image_digests()})


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
