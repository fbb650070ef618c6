"""prepare: annotation files and image folders become a dataset folder that training and evaluation read."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from codetr.config import Settings
from codetr.data import doctor
from codetr.data.annotations import AnnotationReader, ObjectEntry
from codetr.data.check import CheckedImage, check_images
from codetr.data.coco_file import read_coco
from codetr.data.config import Fraction, SourceConfig
from codetr.data.dataset import CLASSES, LOCATIONS
from codetr.data.entries import read_categories, read_image_entries
from codetr.data.findings import Findings
from codetr.data.ids import ImageIds
from codetr.data.index import write_index
from codetr.data.partition import partition
from codetr.data.source import Source, fetch
from codetr.errors import UserError
from codetr.files import atomic_directory, sha256_file, sha256_json, write_json
from codetr.manifest import Manifest, require_output
from codetr.tracking import Tracker


class PrepareConfig(Settings):
    """Settings of the prepare step.

    Attributes:
        train: annotations and images to train on.
        val: to validate and evaluate on; None draws it from `train`.
        test: optional further set to evaluate on.
        val_fraction: share of images drawn for val when none is given.
        seed: of that draw.
        max_lost_images: share of a split's images that may be unusable; more is taken for a wrong folder or an
            interrupted download, and is an error.
    """

    train: SourceConfig
    val: SourceConfig | None = None
    test: SourceConfig | None = None
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0
    max_lost_images: Fraction = 0.5


@dataclass
class _Split:
    """A split on its way from files to an index."""

    images: list[CheckedImage]
    objects: list[ObjectEntry]
    categories: dict[int, str]
    findings: Findings
    listed_images: int
    listed_annotations: int
    root: Path
    where: str
    inputs: dict[str, str]


def prepare(config: PrepareConfig, output: Path) -> Manifest:
    """Check annotations and images and write a dataset folder.

    Args:
        config: sources and settings.
        output: the dataset folder; an earlier one is replaced as a whole when everything went well.

    Returns:
        The manifest of the dataset. Its summary holds the main counts, `doctor.json` in the folder everything else.

    Raises:
        UserError: sources that are missing or not COCO files, contradictory ids, too many unusable images, a split
            without a single usable annotation, or an output folder that holds something else. Lesser faults are
            repaired or dropped, and reported.
    """
    require_output(output, "dataset")
    with Tracker.start("prepare", config=config.model_dump(mode="json")) as tracker:
        manifest = _write_dataset(config, output)
        tracker.summary(manifest.summary)
        # The index is of no use without the images, which stay where they are.
        tracker.produces(output, "dataset", only=(CLASSES, doctor.NAME))
    return manifest


def _write_dataset(config: PrepareConfig, output: Path) -> Manifest:
    with atomic_directory(output) as folder:
        splits = {
            name: _read_split(name, source, folder, config.max_lost_images) for name, source in _sources(config).items()
        }
        categories = _merge_categories(splits)
        if config.val is None:
            splits = _with_val(splits, config)
        for name, split in splits.items():
            _require_usable(name, split)
        report = _write_splits(splits, categories, folder)
        manifest = Manifest.of(
            folder,
            "dataset",
            exclude=(LOCATIONS, "sources"),
            inputs={key: value for split in splits.values() for key, value in split.inputs.items()},
            config=config.model_dump(mode="json", include={"val_fraction", "seed", "max_lost_images"}),
            summary=_summary(splits, categories, report),
        )
        manifest.write(folder)
    return manifest


def index_sources(config: PrepareConfig, folder: Path) -> dict[str, Source]:
    """Index annotations and images as they are, to be examined: no val is drawn, and what is unusable is no error.

    Args:
        config: sources; its other settings are not used.
        folder: an existing folder that becomes a dataset but for its manifest.

    Returns:
        The annotation file and the image folder of every split.

    Raises:
        UserError: sources that are missing or not COCO files, or contradictory ids.
    """
    splits = {name: _read_split(name, source, folder, 1.0) for name, source in _sources(config).items()}
    _write_splits(splits, _merge_categories(splits), folder)
    return {name: Source(Path(split.where), split.root) for name, split in splits.items()}


def _sources(config: PrepareConfig) -> dict[str, SourceConfig]:
    return {name: source for name in ("train", "val", "test") if (source := getattr(config, name)) is not None}


def _write_splits(splits: dict[str, _Split], categories: dict[int, str], folder: Path) -> doctor.Report:
    """Write everything but the manifest."""
    labels = {identifier: label for label, identifier in enumerate(categories)}
    for name, split in splits.items():
        write_index(folder / name, split.images, split.objects, labels)
    report = _examine(splits, categories)
    write_json(folder / CLASSES, {"names": list(categories.values()), "category_ids": list(categories)})
    write_json(folder / doctor.NAME, report.to_json())
    write_json(folder / LOCATIONS, {name: _location(split.root, folder) for name, split in splits.items()})
    return report


def _read_split(name: str, source: SourceConfig, folder: Path, max_lost_images: float) -> _Split:
    files = fetch(source, folder / "sources" / name)
    findings = Findings()
    where = str(files.annotations)
    raw = read_coco(files.annotations, findings)
    categories = read_categories(raw.categories, findings, where)
    ids = ImageIds([value.get("id") for value in raw.images if isinstance(value, dict)])
    entries = read_image_entries(raw, ids, findings, where)
    threads = min(32, 2 * (os.cpu_count() or 1))
    images = check_images(entries, files.images, findings, workers=threads, label=f"checking {name} images")
    # An image that is listed twice is merged, not lost.
    listed_images = len(raw.images) - findings.count("image_repeated")
    lost = listed_images - len(images)
    if lost > max_lost_images * listed_images:
        examples = [
            example for finding in findings.all() if finding.kind.action == "dropped" for example in finding.examples
        ]
        hint = f"Is {files.images} the right folder? Fix the images, or raise max_lost_images."
        problem = f"{lost} of {listed_images} images cannot be used ({findings.summary('dropped')}), e.g. {examples[0]}"
        raise UserError(problem, where=where, hint=hint)
    listed = {entry.image_id for entry in entries}
    reader = AnnotationReader({image.image_id: image for image in images}, listed, ids, categories, findings)
    objects = reader.read(raw.annotations)
    inputs = {
        f"{name}.annotations": sha256_file(files.annotations),
        f"{name}.images": sha256_json(sorted([image.path, image.digest] for image in images)),
    }
    return _Split(
        images, objects, categories, findings, listed_images, len(raw.annotations), files.images, where, inputs
    )


def _merge_categories(splits: dict[str, _Split]) -> dict[int, str]:
    """The categories of all splits by ascending id; a label is a position in them."""
    merged: dict[int, str] = {}
    for name, split in splits.items():
        for identifier, category in split.categories.items():
            if merged.setdefault(identifier, category) != category:
                problem = f"category {identifier} is '{category}' in {name}, but '{merged[identifier]}' before"
                raise UserError(problem, where=split.where, hint="All splits need the same category ids.")
    return dict(sorted(merged.items()))


def _with_val(splits: dict[str, _Split], config: PrepareConfig) -> dict[str, _Split]:
    """Divide train into train and val. What was lost and found, which is about the file, stays with train."""
    whole = splits["train"]
    train, val = partition(whole.images, config.val_fraction, config.seed)
    ids = {image.image_id for image in val}
    in_val = [entry for entry in whole.objects if entry.image_id in ids]
    divided = {
        "train": replace(
            whole,
            images=train,
            objects=[entry for entry in whole.objects if entry.image_id not in ids],
            listed_images=whole.listed_images - len(val),
            listed_annotations=whole.listed_annotations - len(in_val),
        ),
        "val": replace(
            whole,
            images=val,
            objects=in_val,
            findings=Findings(),
            listed_images=len(val),
            listed_annotations=len(in_val),
            inputs={},
        ),
    }
    return {**divided, **{name: split for name, split in splits.items() if name != "train"}}


def _require_usable(name: str, split: _Split) -> None:
    if any(entry.trainable for entry in split.objects):
        return
    if not split.listed_annotations:
        raise UserError(f"the split '{name}' lists no annotation", where=split.where)
    problem = (
        f"the split '{name}' has no usable annotation: of {split.listed_annotations} listed, {len(split.objects)} were "
        f"kept, and those are crowds or smaller than a pixel; found: {split.findings.summary()}"
    )
    raise UserError(problem, where=split.where)


def _examine(splits: dict[str, _Split], categories: dict[int, str]) -> doctor.Report:
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


def _location(root: Path, folder: Path) -> str:
    """Fetched images move with the dataset folder, others stay where they are."""
    return root.relative_to(folder).as_posix() if root.is_relative_to(folder) else str(root)


def _summary(splits: dict[str, _Split], categories: dict[int, str], report: doctor.Report) -> dict[str, Any]:
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
