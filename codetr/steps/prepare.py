"""prepare: annotations and images, of any format, become a dataset folder that training and evaluation read."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from codetr.core.errors import UserError
from codetr.core.files import atomic_directory, sha256_json, write_json
from codetr.core.manifest import Manifest, require_output
from codetr.core.settings import Settings
from codetr.data import doctor
from codetr.data.annotations import AnnotationReader
from codetr.data.check import check_images
from codetr.data.config import Fraction, SourceConfigs
from codetr.data.dataset.classes import CLASSES, write_classes
from codetr.data.dataset.index import write_index
from codetr.data.dataset.split import LOCATIONS
from codetr.data.entries import read_categories, read_frequencies, read_image_entries
from codetr.data.formats.open_source import Source, fetch, lists_labelled, read
from codetr.data.merging import CheckedSource, CheckedSplit, merge_frequencies, merge_sources, unify_categories
from codetr.data.partition import partition
from codetr.data.storage.image_store import ImageRoot, open_place
from codetr.data.validation.findings import Findings
from codetr.data.validation.ids import ImageIds
from codetr.tracking import Tracker

logger = logging.getLogger(__name__)

_UNLISTED = (LOCATIONS, "sources")
"""What of a dataset is not in its manifest: images may move."""


class PrepareConfig(Settings):
    """Settings of the prepare step.

    Attributes:
        train: annotations and images to train on: one source, or a list of sources that are merged.
        val: to validate and evaluate on, likewise; None takes what a VOC folder or YOLO's data.yaml in `train` lists
            for it, else draws it from `train`.
        test: optional further set to evaluate on, likewise; None takes what is listed, too.
        val_fraction: share of images drawn for val when none is given and none is listed.
        test_fraction: share of images drawn for test, listed or not; None draws none.
        stratify: of these draws: give every part its share of every class. False lets each image's content alone
            decide, so that an image stays on its side when others are added.
        seed: of these draws.
        max_lost_images: share of a source's images that may be unusable; more is taken for a wrong folder or an
            interrupted download, and is an error.
    """

    train: SourceConfigs
    val: SourceConfigs | None = None
    test: SourceConfigs | None = None
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    test_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    stratify: bool = True
    seed: Annotated[int, Field(ge=0)] = 0
    max_lost_images: Fraction = 0.5

    @model_validator(mode="after")
    def _fractions_leave_something(self) -> Self:
        if self.test is not None and self.test_fraction is not None:
            raise ValueError("test is given, and test_fraction to draw it: only one of them can be meant")
        if sum(self.drawn.values()) >= 1:
            raise ValueError(f"val_fraction and test_fraction are {sum(self.drawn.values()):g}: nothing is left")
        return self

    @property
    def drawn(self) -> dict[str, float]:
        """Share of train's images by split that is drawn from it, unless it lists that split itself."""
        shares = {} if self.val is not None else {"val": self.val_fraction}
        return shares if self.test_fraction is None else {**shares, "test": self.test_fraction}


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
    require_output(output, "dataset", besides=_UNLISTED)
    with Tracker.start("prepare", config=config.model_dump(mode="json")) as tracker:
        manifest = _write_dataset(config, output)
        tracker.summary(manifest.summary)
        # The index is of no use without the images, which stay where they are.
        tracker.produces(output, "dataset", only=(CLASSES, doctor.NAME))
    return manifest


def _write_dataset(config: PrepareConfig, output: Path) -> Manifest:
    with atomic_directory(output) as unfinished:
        folder = unfinished.resolve()  # what is fetched from a repository lies in it, and must not seem to lead outside
        sources = fetch_sources(config, folder)
        splits, categories = _read_splits(sources, config.max_lost_images)
        drawn = {name: share for name, share in config.drawn.items() if name not in sources}
        if drawn:
            splits = _divide(splits, drawn, config)
        for name, split in splits.items():
            _require_usable(name, split)
        report = _write_splits(splits, categories, folder)
        settings = {"val_fraction", "seed", "max_lost_images", *(["test_fraction", "stratify"] if drawn else [])}
        manifest = Manifest.of(
            folder,
            "dataset",
            exclude=_UNLISTED,
            inputs={key: value for split in splits.values() for key, value in split.inputs.items()},
            config=config.model_dump(mode="json", include=settings),
            summary=_summary(splits, categories, report),
        )
        manifest.write(folder)
    return manifest


def fetch_sources(config: PrepareConfig, folder: Path) -> dict[str, tuple[Source, ...]]:
    """The files of the sources of every split that is given, or that those of train list besides.

    Args:
        config: sources; its other settings are not used.
        folder: the dataset folder, where files of DVC repositories are put.

    Raises:
        UserError: files that are missing or cannot be fetched.
    """
    given = {name: sources for name in ("train", "val", "test") if (sources := getattr(config, name)) is not None}
    fetched = {
        split: tuple(
            fetch(source, folder / "sources" / _source_name(split, position, len(sources)))
            for position, source in enumerate(sources)
        )
        for split, sources in given.items()
    }
    asked_for = {*given, *(["test"] if config.test_fraction is not None else [])}
    for split in ("val", "test"):
        if split not in asked_for and all(lists_labelled(source, split) for source in fetched["train"]):
            fetched[split] = fetched["train"]
            where = ", ".join(str(source.annotations) for source in fetched["train"])
            logger.info("%s is the one that %s lists", split, where)
    return fetched


def index_sources(sources: Mapping[str, Sequence[Source]], folder: Path, *, max_lost_images: float = 1.0) -> None:
    """Index annotations and images as they are, to be examined: no val is drawn, and what is unusable is no error.

    Args:
        sources: what `fetch_sources` gives.
        folder: an existing folder that becomes a dataset but for its manifest.
        max_lost_images: see `PrepareConfig`.

    Raises:
        UserError: sources of no known format, contradictory ids, or more unusable images than that.
    """
    splits, categories = _read_splits(sources, max_lost_images)
    _write_splits(splits, categories, folder)


def _source_name(split: str, position: int, sources: int) -> str:
    return split if sources == 1 else f"{split}.{position}"


def _read_splits(
    sources: Mapping[str, Sequence[Source]], max_lost_images: float
) -> tuple[dict[str, CheckedSplit], dict[int, str]]:
    """Every split, its sources merged, and the categories of all of them."""
    read_in = [
        (split, _read_source(split, _source_name(split, position, len(several)), files, max_lost_images))
        for split, several in sources.items()
        for position, files in enumerate(several)
    ]
    by_name = len(read_in) > len(sources) or not all(source.numbered for _, source in read_in)
    categories = unify_categories(read_in, by_name=by_name)
    return {name: merge_sources([source for split, source in read_in if split == name]) for name in sources}, categories


def _write_splits(splits: dict[str, CheckedSplit], categories: dict[int, str], folder: Path) -> doctor.Report:
    """Write everything but the manifest."""
    labels = {identifier: label for label, identifier in enumerate(categories)}
    for name, split in splits.items():
        write_index(folder / name, split.images, split.objects, labels)
    report = _examine(splits, categories)
    write_classes(folder, categories, merge_frequencies(splits.values()))
    write_json(folder / doctor.NAME, report.to_json())
    write_json(folder / LOCATIONS, {name: _location(split.roots, folder) for name, split in splits.items()})
    return report


def _read_source(split: str, name: str, files: Source, max_lost_images: float) -> CheckedSource:
    """Read and check one source of a split; `name` tells it from the others."""
    threads = min(32, 2 * (os.cpu_count() or 1))
    findings = Findings()
    where = str(files.annotations)
    records = read(files, split, findings, workers=threads)
    raw = records.file
    categories = read_categories(raw.categories, findings, where)
    frequencies = read_frequencies(raw.categories, categories, findings)
    ids = ImageIds([value.get("id") for value in raw.images if isinstance(value, dict)])
    entries = read_image_entries(raw, ids, findings, where)
    images = check_images(
        entries, open_place(records.images), findings, workers=threads, label=f"checking {name} images"
    )
    # An image that is listed twice is merged, not lost.
    listed_images = len(raw.images) - findings.count("image_repeated")
    lost = listed_images - len(images)
    if lost > max_lost_images * listed_images:
        examples = [
            example for finding in findings.all() if finding.kind.action == "dropped" for example in finding.examples
        ]
        hint = f"Is {records.images} the right folder? Fix the images, or raise max_lost_images."
        problem = f"{lost} of {listed_images} images cannot be used ({findings.summary('dropped')}), e.g. {examples[0]}"
        raise UserError(problem, where=where, hint=hint)
    listed = {entry.image_id for entry in entries}
    reader = AnnotationReader({image.image_id: image for image in images}, listed, ids, categories, findings)
    objects = reader.read(raw.annotations)
    return CheckedSource(
        images=images,
        objects=objects,
        categories=categories,
        frequencies=frequencies,
        numbered=records.numbered,
        identified=records.identified,
        findings=findings,
        listed_images=listed_images,
        listed_annotations=len(raw.annotations),
        roots=(records.images,),
        where=where,
        inputs={
            f"{name}.annotations": records.digest,
            f"{name}.images": sha256_json(sorted([image.path, image.digest] for image in images)),
        },
        lost=reader.lost,
    )


def _divide(
    splits: dict[str, CheckedSplit], shares: Mapping[str, float], config: PrepareConfig
) -> dict[str, CheckedSplit]:
    """Draw val or test, or both, from train. What was lost and found, which is about the files, stays with train."""
    whole = splits["train"]
    trained = whole.objects.take(whole.objects.trainable)
    trained = trained.take(np.argsort(trained.image_ids, kind="stable"))
    found, starts = np.unique(trained.image_ids, return_index=True)
    categories = np.split(trained.category_ids, starts[1:])
    classes = {image: set(ids.tolist()) for image, ids in zip(found.tolist(), categories, strict=True)}
    parts = partition(whole.images, classes, shares, config.seed, stratify=config.stratify)
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
    together = {**splits, **divided}
    return {name: together[name] for name in ("train", "val", "test") if name in together}


def _require_usable(name: str, split: CheckedSplit) -> None:
    if split.objects.trainable.any():
        return
    if not split.listed_annotations:
        raise UserError(f"the split '{name}' lists no annotation", where=split.where)
    kept = f"{len(split.objects)} were kept, and those are crowds, marked with ignore or smaller than a pixel"
    problem = (
        f"the split '{name}' has no usable annotation: of {split.listed_annotations} listed, "
        f"{kept if len(split.objects) else 'none could be kept'}; found: {split.findings.summary()}"
    )
    raise UserError(problem, where=split.where)


def _examine(splits: dict[str, CheckedSplit], categories: dict[int, str]) -> doctor.Report:
    reports: dict[str, doctor.SplitReport] = {
        name: doctor.examine_split(
            split.images,
            split.objects,
            categories,
            split.findings,
            listed_images=split.listed_images,
            listed_annotations=split.listed_annotations,
        )
        for name, split in splits.items()
    }
    return doctor.examine(reports, {name: split.images for name, split in splits.items()})


def _location(roots: tuple[ImageRoot, ...], folder: Path) -> str | list[str]:
    """Fetched images move with the dataset folder, others stay where they are."""
    shown = [
        root.relative_to(folder).as_posix() if isinstance(root, Path) and root.is_relative_to(folder) else str(root)
        for root in roots
    ]
    return shown[0] if len(shown) == 1 else shown


def _summary(splits: dict[str, CheckedSplit], categories: dict[int, str], report: doctor.Report) -> dict[str, Any]:
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
