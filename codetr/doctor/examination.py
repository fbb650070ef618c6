"""Examine a prepared dataset: the findings of reading it, and those that its objects and images show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.data.config import PreprocessConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.summary import DatasetReport, read_report
from codetr.data.validation.dataset_findings import DatasetFinding, DatasetFindings, Example
from codetr.data.validation.finding_kind import SEVERITIES, Severity
from codetr.data.validation.findings import example_text
from codetr.doctor import box_checks
from codetr.doctor.box_checks import SplitObjects
from codetr.doctor.image_checks import Pair, find_repetitions
from codetr.doctor.segmentations import measure_segmentations


@dataclass(frozen=True)
class Examination:
    """The result of examining a dataset.

    Attributes:
        dataset: the dataset folder that was examined.
        report: what `prepare` wrote.
        findings: by severity, then in the order of `KINDS`.
        preprocess: the input resolution at which objects count as small.
    """

    dataset: Path
    report: DatasetReport
    findings: list[DatasetFinding]
    preprocess: PreprocessConfig

    def count(self, severity: Severity) -> int:
        """Return the number of kinds of finding of this severity."""
        return sum(finding.kind.severity == severity for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON report."""
        splits = {name: split.to_json() for name, split in self.report.splits.items()}
        for values in splits.values():
            del values["findings"]  # listed for all splits together
        return {
            "findings": [finding.to_json() for finding in self.findings],
            "severities": {severity: self.count(severity) for severity in SEVERITIES},
            "splits": splits,
            "classes": [entry.to_json() for entry in self.report.classes],
            "input": self.preprocess.model_dump(mode="json", include={"short_side", "long_side", "canvas"}),
        }


def examine_dataset(dataset: Path, preprocess: PreprocessConfig) -> Examination:
    """Examine a dataset folder. No image is opened, so this takes seconds for a million objects.

    Args:
        dataset: what `prepare` wrote.
        preprocess: how images become network input.

    Raises:
        UserError: no dataset folder, or a damaged one.
    """
    report = read_report(dataset)
    splits = {name: Split.open(dataset, name) for name in report.splits}
    findings = DatasetFindings()
    for name, split in splits.items():
        _examine_split(name, split, preprocess, findings)
    _examine_images(splits, findings)
    report.add_findings(findings)
    return Examination(dataset, report, findings.ordered(), preprocess)


def input_scales(sizes: NDArray[np.int32], preprocess: PreprocessConfig) -> NDArray[np.float64]:
    """Return the factors by which preprocessing scales images.

    Args:
        sizes: (images, 2) height and width.
        preprocess: how images become network input.

    Returns:
        (images,) float64.
    """
    longest, shortest = sizes.max(axis=1), sizes.min(axis=1)
    # The sides may be given in either order, as in `rescaled_size`.
    short_side, long_side = sorted((preprocess.short_side, preprocess.long_side))
    scales: NDArray[np.float64] = np.minimum(long_side / longest, short_side / shortest)
    if preprocess.canvas is not None:
        scales = preprocess.canvas / longest
    return scales


def _examine_split(name: str, split: Split, preprocess: PreprocessConfig, findings: DatasetFindings) -> None:
    arrays = split.arrays
    objects, segmentations = SplitObjects.of(arrays), measure_segmentations(arrays)
    repeated = box_checks.find_repeated(objects)
    same_class, other_class = box_checks.find_near_copies(objects, repeated)
    partners = {"annotation_repeated": repeated, "box_nearly_repeated": same_class, "box_of_two_classes": other_class}
    with np.errstate(invalid="ignore"):  # comparisons with the NaN of objects without segmentation
        masks = {
            "annotation_crowd": objects.iscrowd,
            "box_exceeds_image": box_checks.exceeds_image(objects),
            "box_tiny": box_checks.is_tiny(objects),
            "box_disagrees_with_segmentation": box_checks.box_disagrees_with_segmentation(objects, segmentations),
            "box_elongated": box_checks.is_elongated(objects),
            "box_whole_image": box_checks.covers_image(objects),
            "box_small_at_input": box_checks.is_small_at_input(objects, input_scales(split.sizes, preprocess)),
            "area_disagrees": box_checks.area_disagrees(objects, segmentations),
            "area_disagrees_with_segmentation": box_checks.area_disagrees_with_segmentation(objects, segmentations),
            "segmentation_exceeds_image": box_checks.segmentation_exceeds_image(objects, segmentations),
        }
    if segmentations.present.any():
        masks["segmentation_missing"] = ~segmentations.present

    def example(k: int, partner: int = -1) -> Example:
        involved = (int(k),) if partner < 0 else (int(k), int(partner))
        i = int(objects.image_index[k])
        shape = "{}x{}".format(*objects.sizes_wh[k])
        text = f"'{split.names[objects.labels[k]]}': box {_box_text(*objects.boxes_xywh[k].tolist())}"
        if partner >= 0:
            text += f" over '{split.names[objects.labels[partner]]}'"
        else:
            text += f", area {objects.areas[k]:.6g}"
            if segmentations.present[k]:
                x1, y1, x2, y2 = segmentations.extents_xyxy[k].tolist()
                extent = _box_text(x1, y1, x2 - x1, y2 - y1)
                text += f"; segmentation: box {extent}, area {segmentations.areas[k]:.6g}"
        text += f"; image {shape}"
        ids = tuple(int(arrays["annotation_ids"][o]) for o in involved)
        return Example(name, example_text(text), i, involved, None, *_image(split, i), ids)

    for kind, partner in partners.items():
        findings.add(kind, name, np.flatnonzero(partner >= 0), partial(_with_partner, example, partner))
    for kind, mask in masks.items():
        findings.add(kind, name, np.flatnonzero(mask), example)
    empty = np.flatnonzero(np.diff(arrays["object_offsets"]) == 0)
    findings.add("image_empty", name, empty, lambda i: _image_example(name, split, int(i)))


def _with_partner(example: Callable[[int, int], Example], partner: NDArray[np.int64], k: int) -> Example:
    return example(k, int(partner[k]))


def _examine_images(splits: dict[str, Split], findings: DatasetFindings) -> None:
    found = find_repetitions({name: split.arrays for name, split in splits.items()})
    kinds: dict[str, list[Pair]] = {
        "image_file_shared": found.shared,
        "image_content_repeated": [pair for pair in found.repeated if not _between_sources(pair, splits)],
        "image_in_several_sources": [pair for pair in found.repeated if _between_sources(pair, splits)],
        "image_nearly_repeated": found.similar,
        "image_leaked": found.leaked,
        "image_nearly_leaked": found.nearly_leaked,
    }
    for kind, pairs in kinds.items():
        for name, split in splits.items():
            in_split = [pair for pair in pairs if pair.second[0] == name]

            def example(pair: Pair, name: str = name, split: Split = split) -> Example:
                other, position = pair.first
                file, _ = _image(splits[other], position)
                of_split = "" if other == name else f" of {other}"
                return _image_example(name, split, pair.second[1], f" and '{file}'{of_split}", pair.first)

            findings.add(kind, name, in_split, example)


def _between_sources(pair: Pair, splits: dict[str, Split]) -> bool:
    (split, first), (_, second) = pair.first, pair.second
    return splits[split].source(first) != splits[split].source(second)


def _image_example(name: str, split: Split, i: int, text: str = "", partner: tuple[str, int] | None = None) -> Example:
    file, image_id = _image(split, i)
    return Example(name, example_text(f"'{file}'{text}"), i, (), partner, file, image_id)


def _image(split: Split, i: int) -> tuple[str, int]:
    return split.relative_path(i), int(split.image_ids[i])


def _box_text(x: float, y: float, width: float, height: float) -> str:
    return f"[{x:.6g}, {y:.6g}, {width:.6g}, {height:.6g}]"


LEVELS: dict[str, tuple[Severity, ...]] = {"error": ("error",), "warning": ("error", "warning"), "never": ()}
"""Severities that count as failure, by value of `--fail-on`."""


def fails(examination: Examination, level: str) -> bool:
    """Return whether there is a finding of a severity that `LEVELS` lists for this level."""
    return any(finding.kind.severity in LEVELS[level] for finding in examination.findings)
