"""Report on a prepared dataset: statistics of splits and classes, and findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError
from codetr.core.files import read_json
from codetr.data.annotation_table import AnnotationTable, first_equal_row
from codetr.data.ingest.merge import CheckedSplit
from codetr.data.validation.class_statistics import ClassStatistics, find_in_classes
from codetr.data.validation.dataset_findings import DatasetFinding, DatasetFindings, Example
from codetr.data.validation.finding_kinds import KINDS
from codetr.data.validation.findings import Finding

REPORT = "doctor.json"
MAX_LISTED = 20
"""Limit on files and classes that are listed."""
SIZE_BOUNDS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, float("inf"))}
"""Area ranges of COCO metrics in square pixels: lower bound included, upper bound excluded."""


@dataclass(frozen=True)
class SplitReport:
    """Statistics and findings of one split.

    Attributes:
        listed_images: images in the annotation file; of a split that was drawn, those drawn.
        images: usable images.
        listed_annotations: annotations in the file.
        annotations: kept annotations.
        trainable: annotations that are trained on.
        crowds: crowd annotations, which evaluation ignores.
        segmentations: annotations with a segmentation.
        empty_images: images without annotations, which are used as background.
        empty_examples: files of the first of them.
        image_sides: quantiles (minimum, quarter, median, three quarters, maximum) of the images' sides in pixels.
        box_sides: the same quantiles of the square root of box areas in pixels.
        box_sizes: number of objects by area range of COCO metrics.
        objects_per_image: the same quantiles.
        findings: what was dropped, repaired or noticed.
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
    image_sides: list[float]
    box_sides: list[float]
    box_sizes: dict[str, int]
    objects_per_image: list[float]
    findings: list[Finding]

    def to_json(self) -> dict[str, Any]:
        """Return the report as it stands in `doctor.json`."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["findings"] = [finding.to_json() for finding in self.findings]
        return values


@dataclass(frozen=True)
class DatasetReport:
    """The report that `prepare` writes, `doctor.json`; `codetr doctor` reads it and adds what the index shows.

    Attributes:
        splits: report by split.
        classes: objects and images of every class, in label order.
    """

    splits: dict[str, SplitReport]
    classes: list[ClassStatistics]

    def add_findings(self, findings: DatasetFindings) -> None:
        """Add the findings of all splits and of the classes, except for kinds that were examined already."""
        for split, report in self.splits.items():
            for finding in report.findings:
                if finding.name not in findings.examined:
                    examples = [Example(split, text) for text in finding.examples[: finding.count]]
                    findings.extend(finding.name, split, finding.count, examples)
        for kind, found in groupby(sorted(find_in_classes(self.classes), key=_kind), key=_kind):
            findings.add(kind, "", [name for _, name in found], lambda name: Example("", f"'{name}'"))

    @property
    def findings(self) -> list[DatasetFinding]:
        """All findings, by severity."""
        findings = DatasetFindings()
        self.add_findings(findings)
        return findings.ordered()

    @property
    def advice(self) -> list[str]:
        """What the errors and warnings mean and what to do about them, a text each."""
        return [
            f"{finding.name} ({finding.count}): {finding.kind.meaning}. {finding.kind.advice}".strip()
            for finding in self.findings
            if finding.kind.severity != "note"
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the content of `doctor.json`."""
        return {
            "splits": {name: report.to_json() for name, report in self.splits.items()},
            "classes": [entry.to_json() for entry in self.classes],
        }


def report_dataset(splits: Mapping[str, CheckedSplit], categories: Mapping[int, str]) -> DatasetReport:
    """Describe the splits of a dataset.

    Args:
        splits: all splits.
        categories: names by id, in label order.
    """
    counts = {name: _count_classes(split.objects) for name, split in splits.items()}
    classes = [
        ClassStatistics(
            class_name,
            identifier,
            {split: objects.get(identifier, 0) for split, (objects, _) in counts.items()},
            {split: images.get(identifier, 0) for split, (_, images) in counts.items()},
        )
        for identifier, class_name in categories.items()
    ]
    return DatasetReport({name: _report_split(split) for name, split in splits.items()}, classes)


def _kind(found: tuple[str, str]) -> str:
    return found[0]


def _count_classes(objects: AnnotationTable) -> tuple[dict[int, int], dict[int, int]]:
    """Return the number of objects that are trained on, and of images with such objects, by category id."""
    trained = objects.take(objects.trainable)
    first = first_equal_row((trained.category_ids, trained.image_ids)) < 0
    return _count(trained.category_ids), _count(trained.category_ids[first])


def _report_split(split: CheckedSplit) -> SplitReport:
    images, objects = split.images, split.objects
    per_image = _count(objects.image_ids)
    counts = [per_image.get(image.image_id, 0) for image in images]
    empty = [image.path for image, count in zip(images, counts, strict=True) if not count]
    regular = objects.take(~objects.iscrowd)
    areas = regular.areas
    return SplitReport(
        listed_images=split.listed_images,
        images=len(images),
        listed_annotations=split.listed_annotations,
        annotations=len(objects),
        trainable=int(objects.trainable.sum()),
        crowds=int(objects.iscrowd.sum()),
        segmentations=int(objects.has_segmentation.sum()),
        empty_images=len(empty),
        empty_examples=empty[:MAX_LISTED],
        image_sides=_quantiles([side for image in images for side in (image.height, image.width)]),
        box_sides=_quantiles(np.sqrt(regular.boxes_xywh[:, 2] * regular.boxes_xywh[:, 3])),
        box_sizes={name: int(((areas >= low) & (areas < high)).sum()) for name, (low, high) in SIZE_BOUNDS.items()},
        objects_per_image=_quantiles(counts),
        findings=split.findings.all(),
    )


def read_report(dataset: Path) -> DatasetReport:
    """Read the report that `prepare` left in a dataset folder.

    Raises:
        UserError: there is none, or it was written by another version.
    """
    path = dataset / REPORT
    if not dataset.is_dir():
        raise UserError("there is no such folder", where=str(dataset))
    if not path.is_file():
        raise UserError(f"has no {REPORT}", where=str(dataset), hint="A dataset folder is made by `codetr prepare`.")
    values = read_json(path)
    try:
        splits = {
            name: SplitReport(**{**split, "findings": [_read_finding(finding) for finding in split["findings"]]})
            for name, split in values["splits"].items()
        }
        return DatasetReport(splits, [ClassStatistics.from_json(entry) for entry in values["classes"]])
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
