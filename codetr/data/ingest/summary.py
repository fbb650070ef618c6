"""The data doctor: what a prepared split consists of, what was wrong with it, and what will hurt training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError, listed
from codetr.core.files import read_json
from codetr.data.annotation_table import AnnotationTable, first_equal_row
from codetr.data.ingest.image_check import CheckedImage
from codetr.data.validation.finding_kinds import KINDS
from codetr.data.validation.findings import Finding, Findings

REPORT = "doctor.json"
MAX_LISTED = 20
SIZE_BOUNDS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, float("inf"))}
"""Area ranges of the COCO metrics in square pixels."""


@dataclass(frozen=True)
class SplitReport:
    """What the doctor found in one split.

    Attributes:
        listed_images: images in the annotation file, after a split was drawn from it.
        images: usable images.
        listed_annotations: annotations in the file.
        annotations: kept annotations.
        trainable: annotations that are trained on.
        crowds: crowd annotations, which are only evaluated.
        segmentations: annotations with a segmentation.
        empty_images: images without any annotation (they are used, as background).
        empty_examples: files of the first of them.
        classes: per class name, objects that are trained on and images they are in.
        image_sides: quantiles (minimum, quarter, median, three quarters, maximum) of the images' sides in pixels.
        box_sides: the same quantiles of the square root of box areas in pixels.
        box_sizes: number of objects by COCO's area ranges.
        objects_per_image: the same quantiles.
        findings: everything dropped, repaired or noticed.
    """

    listed_images: int
    images: int
    listed_annotations: int
    annotations: int
    trainable: int
    crowds: int
    segmentations: int
    empty_images: int
    empty_examples: list[str]
    classes: dict[str, dict[str, int]]
    image_sides: list[float]
    box_sides: list[float]
    box_sizes: dict[str, int]
    objects_per_image: list[float]
    findings: list[Finding]

    def to_json(self) -> dict[str, Any]:
        """The report as it stands in `doctor.json`."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["findings"] = [finding.to_json() for finding in self.findings]
        return values


@dataclass(frozen=True)
class Report:
    """The doctor's report on a dataset.

    Attributes:
        splits: report by split.
        shared_images: (split, split, number of images of identical content), where not zero.
        untrained_classes: classes without an object to train on.
        advice: full sentences about what will hurt training or evaluation.
    """

    splits: dict[str, SplitReport]
    shared_images: list[tuple[str, str, int]]
    untrained_classes: list[str]
    advice: list[str]

    def to_json(self) -> dict[str, Any]:
        """The content of `doctor.json`."""
        return {
            "splits": {name: report.to_json() for name, report in self.splits.items()},
            "shared_images": [list(shared) for shared in self.shared_images],
            "untrained_classes": self.untrained_classes,
            "advice": self.advice,
        }


def examine_split(
    images: Sequence[CheckedImage],
    objects: AnnotationTable,
    categories: Mapping[int, str],
    findings: Findings,
    *,
    listed_images: int,
    listed_annotations: int,
) -> SplitReport:
    """Describe one split."""
    per_image = _count(objects.image_ids)
    counts = [per_image.get(image.image_id, 0) for image in images]
    trained = objects.take(objects.trainable)
    instances = _count(trained.category_ids)
    first = first_equal_row((trained.category_ids, trained.image_ids)) < 0
    class_images = _count(trained.category_ids[first])
    empty = [image.path for image, count in zip(images, counts, strict=True) if not count]
    regular = objects.take(~objects.iscrowd)
    areas = regular.areas
    return SplitReport(
        listed_images=listed_images,
        images=len(images),
        listed_annotations=listed_annotations,
        annotations=len(objects),
        trainable=len(trained),
        crowds=int(objects.iscrowd.sum()),
        segmentations=int(objects.has_segmentation.sum()),
        empty_images=len(empty),
        empty_examples=empty[:MAX_LISTED],
        classes={
            name: {"objects": instances.get(identifier, 0), "images": class_images.get(identifier, 0)}
            for identifier, name in categories.items()
        },
        image_sides=_quantiles([side for image in images for side in (image.height, image.width)]),
        box_sides=_quantiles(np.sqrt(regular.boxes_xywh[:, 2] * regular.boxes_xywh[:, 3])),
        box_sizes={name: int(((areas >= low) & (areas < high)).sum()) for name, (low, high) in SIZE_BOUNDS.items()},
        objects_per_image=_quantiles(counts),
        findings=findings.all(),
    )


def examine(splits: Mapping[str, SplitReport], images: Mapping[str, Sequence[CheckedImage]]) -> Report:
    """Compare the splits with each other and say what stands out."""
    digests = {name: {image.digest for image in checked} for name, checked in images.items()}
    names = list(splits)
    shared = [
        (first, second, count)
        for position, first in enumerate(names)
        for second in names[position + 1 :]
        if (count := len(digests[first] & digests[second]))
    ]
    train = splits["train"]
    untrained = [name for name, counts in train.classes.items() if not counts["objects"]]
    advice = [
        f"{count} images are in {first} and in {second}: {second} will look too good."
        for first, second, count in shared
    ]
    if untrained:
        advice.append(f"No object to train on for {_listed(untrained)}: the detector cannot learn these classes.")
    rare = [name for name, counts in train.classes.items() if 0 < counts["objects"] < 10]
    if rare:
        advice.append(f"Fewer than 10 objects to train on for {_listed(rare)}: expect little of these classes.")
    for name, report in splits.items():
        lost = report.listed_images - report.images
        if lost:
            advice.append(f"{lost} of {report.listed_images} images of {name} cannot be used.")
        lost = report.listed_annotations - report.annotations
        if lost:
            advice.append(f"{lost} of {report.listed_annotations} annotations of {name} were dropped.")
        wrong = sum(finding.count for finding in report.findings if finding.name == "image_size_wrong")
        if wrong:
            advice.append(f"{wrong} images of {name} are not of the declared size: look whether their boxes fit.")
        if report.images and report.empty_images > report.images / 2:
            advice.append(
                f"{report.empty_images} of {report.images} images of {name} have no annotation: is that meant?"
            )
    return Report(dict(splits), shared, untrained, advice)


def read_report(dataset: Path) -> Report:
    """Read the report that `prepare` left in a dataset folder.

    Raises:
        UserError: there is none, or it was written by another version.
    """
    path = dataset / REPORT
    if not dataset.is_dir():
        raise UserError("there is no such folder", where=str(dataset))
    if not path.is_file():
        raise UserError(f"holds no {REPORT}", where=str(dataset), hint="A dataset folder is made by `codetr prepare`.")
    values = read_json(path)
    try:
        splits = {
            name: SplitReport(**{**split, "findings": [_read_finding(finding) for finding in split["findings"]]})
            for name, split in values["splits"].items()
        }
        shared = [(first, second, count) for first, second, count in values["shared_images"]]
        return Report(splits, shared, values["untrained_classes"], values["advice"])
    except (KeyError, TypeError, ValueError, AttributeError):
        hint = "It was written by another version; run `codetr prepare` again."
        raise UserError("is not a report of this version", where=str(path), hint=hint) from None


def _read_finding(values: dict[str, Any]) -> Finding:
    if values["name"] not in KINDS:
        raise ValueError(values["name"])
    return Finding(values["name"], values["count"], values["examples"])


def _count(values: NDArray[np.int64]) -> dict[int, int]:
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _quantiles(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    if not len(values):
        return []
    return [round(float(value), 2) for value in np.quantile(np.asarray(values, float), [0, 0.25, 0.5, 0.75, 1])]


def _listed(names: Sequence[str]) -> str:
    return listed([f"'{name}'" for name in names], 10)
