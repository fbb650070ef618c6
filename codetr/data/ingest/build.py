"""Build a dataset folder: read the sources of every split, merge them, draw missing splits, write the index."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from codetr.core.errors import UserError
from codetr.core.files import sha256_json, write_json
from codetr.data.config import MAX_PIXELS
from codetr.data.dataset.classes import write_classes
from codetr.data.dataset.image_settings import ImageSettings, write_image_settings
from codetr.data.dataset.split import LOCATIONS
from codetr.data.formats.coco_columns import RawAnnotations
from codetr.data.formats.open_source import Source, fetch, format_of, has_labelled_split, read
from codetr.data.ingest.annotations import AnnotationReader
from codetr.data.ingest.categories import read_categories, read_frequencies
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.draw_splits import draw_splits
from codetr.data.ingest.image_check import ImageChecker, check_images
from codetr.data.ingest.image_list import read_image_entries
from codetr.data.ingest.leaks import find_leaks
from codetr.data.ingest.max_lost import MISREAD, MaxLost, reasons_for_lost_annotations
from codetr.data.ingest.merge import CheckedSource, CheckedSplit, merge_frequencies, merge_sources, unify_categories
from codetr.data.ingest.source_contents import SourceContents, reader_threads, source_name
from codetr.data.ingest.summary import REPORT, DatasetReport, report_dataset
from codetr.data.ingest.write_index import write_index
from codetr.data.storage.image_store import ImageRoot, open_storage
from codetr.data.validation.findings import Findings, Recorder
from codetr.data.validation.ids import ListedIds

logger = logging.getLogger(__name__)

_DEFAULT_IMAGES = ImageSettings()
_NO_LIMIT = MaxLost()


def fetch_sources(config: PrepareConfig, folder: Path) -> dict[str, tuple[Source, ...]]:
    """Fetch the files of the sources of every split that is given, or that the sources of train list.

    Args:
        config: the sources; its other settings are not used.
        folder: the dataset folder; files of DVC repositories are stored in it.

    Raises:
        UserError: files that are missing or cannot be fetched.
    """
    given = {name: sources for name in ("train", "val", "test") if (sources := getattr(config, name)) is not None}
    fetched = {
        split: tuple(
            fetch(source, folder / "sources" / source_name(split, position, len(sources)))
            for position, source in enumerate(sources)
        )
        for split, sources in given.items()
    }
    configured = {*given, *(["test"] if config.test_fraction is not None else [])}
    for split in ("val", "test"):
        if split not in configured and all(has_labelled_split(source, split) for source in fetched["train"]):
            fetched[split] = fetched["train"]
            where = ", ".join(str(source.annotations) for source in fetched["train"])
            logger.info("using the %s set that %s lists", split, where)
    return fetched


def index_sources(
    sources: Mapping[str, Sequence[Source]],
    folder: Path,
    *,
    max_lost: MaxLost = _NO_LIMIT,
    recorders: Mapping[str, Recorder] = MappingProxyType({}),
    images: ImageSettings = _DEFAULT_IMAGES,
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Index annotations and images for an examination: no split is drawn, and unusable splits are no error.

    Args:
        sources: the result of `fetch_sources`.
        folder: an existing folder that becomes a dataset without a manifest.
        max_lost: how much of a source may be unusable.
        recorders: by split of a single source, called with every entry of its annotation file.
        images: how images are decoded.
        max_pixels: pixels of the largest image that is read.

    Raises:
        UserError: sources of no known format, contradictory ids, or more unusable images or annotations than that.
    """
    splits, categories = read_splits(sources, max_lost, recorders, images=images, max_pixels=max_pixels)
    find_leaks(splits)
    write_splits(splits, categories, folder, images)


def read_splits(
    sources: Mapping[str, Sequence[Source]],
    max_lost: MaxLost,
    recorders: Mapping[str, Recorder] = MappingProxyType({}),
    *,
    images: ImageSettings = _DEFAULT_IMAGES,
    max_pixels: int = MAX_PIXELS,
    contents: SourceContents | None = None,
) -> tuple[dict[str, CheckedSplit], dict[int, str]]:
    """Return every split, its sources merged, and the categories of all splits.

    Args:
        sources: the result of `fetch_sources`.
        max_lost: how much of a source may be unusable.
        recorders: by split of a single source, called with every entry of its annotation file.
        images: how images are decoded.
        max_pixels: pixels of the largest image that is read.
        contents: receives what is read.

    Raises:
        UserError: see `index_sources`.
    """
    read_in = [
        (
            split,
            _read_source(
                split,
                source_name(split, position, len(several)),
                files,
                max_lost,
                Findings(recorders.get(split)),
                images,
                max_pixels,
                contents,
            ),
        )
        for split, several in sources.items()
        for position, files in enumerate(several)
    ]
    by_name = len(read_in) > len(sources) or not all(source.has_category_ids for _, source in read_in)
    categories = unify_categories(read_in, by_name=by_name)
    return {name: merge_sources([source for split, source in read_in if split == name]) for name in sources}, categories


def write_splits(
    splits: dict[str, CheckedSplit],
    categories: dict[int, str],
    folder: Path,
    images: ImageSettings = _DEFAULT_IMAGES,
) -> DatasetReport:
    """Write everything except the manifest into the dataset folder."""
    labels = {identifier: label for label, identifier in enumerate(categories)}
    for name, split in splits.items():
        write_index(folder / name, split.images, split.objects, labels)
    report = report_dataset(splits, categories)
    write_image_settings(folder, images)
    write_classes(folder, categories, merge_frequencies(splits.values()))
    write_json(folder / REPORT, report.to_json())
    write_locations(folder, {name: split.roots for name, split in splits.items()})
    return report


def write_locations(folder: Path, roots: Mapping[str, Sequence[ImageRoot]]) -> None:
    """Write where the images of every split are; the index has their paths relative to these."""
    write_json(folder / LOCATIONS, {name: _location(several, folder) for name, several in roots.items()})


def _read_source(
    split: str,
    name: str,
    files: Source,
    max_lost: MaxLost,
    findings: Findings,
    image_settings: ImageSettings,
    max_pixels: int,
    contents: SourceContents | None,
) -> CheckedSource:
    """Read and check one source of a split; `name` is unique among all sources."""
    threads = reader_threads()
    where = str(files.annotations)
    with findings.of_entry("file", 0) as entry:
        raw_source = read(files, split, findings, workers=threads)
        entry.value = raw_source.file
    raw = raw_source.file
    if contents is None:
        storage = open_storage(raw_source.images, files.links, search=files.images is not None)
    else:
        storage = contents.record(name, files, raw_source, findings)
    category_ids = _listed_ids(raw.categories)
    categories = read_categories(raw.categories, category_ids, findings, where)
    frequencies = read_frequencies(raw.categories, categories, category_ids, findings)
    ids = _listed_ids(raw.images)
    entries = read_image_entries(raw, ids, category_ids, findings, where)
    images = check_images(
        entries,
        ImageChecker(storage, image_settings.range_16bit, max_pixels),
        # Boxes of another format do not show where they end.
        raw.annotations if files.box_format == "xywh" else RawAnnotations([]),
        ids,
        findings,
        workers=threads,
        label=f"checking {name} images",
    )
    # An image that is listed twice is merged, not lost.
    listed_images = len(raw.images) - findings.count("image_repeated")
    lost_images = listed_images - len(images)
    max_lost.require_images(lost_images, listed_images, findings, images=str(raw_source.images), where=where)
    listed = {entry.image_id for entry in entries}
    reader = AnnotationReader(
        {image.image_id: image for image in images},
        listed,
        ids,
        category_ids,
        categories,
        findings,
        files.box_format,
        raw_source.written_as,
    )
    objects = reader.read(raw.annotations)
    max_lost.require_annotations(len(objects), len(raw.annotations), findings, boxes=_boxes(files), where=where)
    return CheckedSource(
        images=images,
        objects=objects,
        categories=categories,
        frequencies=frequencies,
        has_category_ids=raw_source.has_category_ids and not category_ids.any_numbered,
        has_record_ids=raw_source.has_record_ids,
        findings=findings,
        listed_images=listed_images,
        listed_annotations=len(raw.annotations),
        roots=(raw_source.images,),
        where=where,
        inputs={
            f"{name}.annotations": raw_source.digest,
            f"{name}.images": sha256_json(sorted([image.path, image.digest] for image in images)),
        },
        lost=reader.lost,
    )


def _boxes(files: Source) -> str:
    """Return how the boxes of a source are read."""
    if format_of(files.annotations) == "voc":
        return "xmin, ymin, xmax, ymax in pixels"
    if format_of(files.annotations) == "yolo":
        return "centre, width and height in shares of the image's sides (0 to 1)"
    return f"{files.box_format}, {'the default' if files.box_format == 'xywh' else 'as set for this source'}"


def _listed_ids(entries: Sequence[Any]) -> ListedIds:
    return ListedIds([value.get("id") for value in entries if isinstance(value, dict)])


def draw_missing_splits(
    splits: dict[str, CheckedSplit], shares: Mapping[str, float], config: PrepareConfig
) -> dict[str, CheckedSplit]:
    """Draw val or test, or both, from train. Findings and lost records, which concern the files, stay with train.

    Raises:
        UserError: train has nothing to train on, or fewer images than splits.
    """
    whole = splits["train"]
    require_usable("train", whole)
    trainable = whole.objects.take(whole.objects.trainable)
    trainable = trainable.take(np.argsort(trainable.image_ids, kind="stable"))
    image_ids, starts = np.unique(trainable.image_ids, return_index=True)
    categories = np.split(trainable.category_ids, starts[1:])
    classes = {image: set(ids.tolist()) for image, ids in zip(image_ids.tolist(), categories, strict=True)}
    parts = draw_splits(whole.images, classes, shares, config.seed, stratify=config.stratify, where=whole.where)
    divided = {}
    for name, images in parts.items():
        chosen = np.isin(whole.objects.image_ids, [image.image_id for image in images])
        objects = whole.objects.take(chosen)
        divided[name] = replace(
            whole,
            images=images,
            objects=objects,
            findings=Findings(),
            listed_images=len(images),
            listed_annotations=len(objects),
            inputs={},
        )
    train = divided["train"]
    divided["train"] = replace(
        train,
        findings=whole.findings,
        listed_images=whole.listed_images - len(whole.images) + len(train.images),
        listed_annotations=whole.listed_annotations - len(whole.objects) + len(train.objects),
        inputs=whole.inputs,
    )
    for name in shares:
        logger.info("drew %s from train: %d of %d images", name, len(divided[name].images), len(whole.images))
    together = {**splits, **divided}
    return {name: together[name] for name in ("train", "val", "test") if name in together}


def require_usable(name: str, split: CheckedSplit) -> None:
    """Raise `UserError` unless the split has an annotation to train on; the hint is about the most frequent reason."""
    if split.objects.trainable.any():
        return
    if not split.listed_annotations:
        raise UserError(f"the split '{name}' lists no annotation", where=split.where)
    kept = f"the {len(split.objects)} kept are crowds, marked with ignore or smaller than a pixel"
    problem = (
        f"the split '{name}' has no usable annotation: of {split.listed_annotations} listed, "
        f"{kept if len(split.objects) else 'none could be kept'}; found: {split.findings.summary()}"
    )
    misread = [found for found in split.findings.all() if found.name in MISREAD]
    reasons = [*misread, *reasons_for_lost_annotations(split.findings)]
    if not reasons:
        raise UserError(problem, where=split.where)
    raise UserError(f"{problem}, e.g. {reasons[0].examples[0]}", where=split.where, hint=reasons[0].kind.advice or None)


def _location(roots: Sequence[ImageRoot], folder: Path) -> str | list[str]:
    """Return the image folders for `LOCATIONS`: relative paths inside the dataset folder, absolute ones outside."""
    shown = [
        root.relative_to(folder).as_posix() if isinstance(root, Path) and root.is_relative_to(folder) else str(root)
        for root in roots
    ]
    return shown[0] if len(shown) == 1 else shown
