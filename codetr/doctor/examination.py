"""Everything the doctor says about a dataset: what was found while reading it, and what its objects and images show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.data.config import PreprocessConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.summary import Report, read_report
from codetr.data.validation.finding_kinds import KINDS, SEVERITIES, Kind, Severity
from codetr.data.validation.findings import MAX_EXAMPLES, printable
from codetr.doctor import box_checks
from codetr.doctor.box_checks import SplitObjects
from codetr.doctor.classes import ClassCounts, count_classes, judge_classes
from codetr.doctor.image_checks import Pair, find_repetitions
from codetr.doctor.segmentations import measure_segmentations


@dataclass(frozen=True)
class Example:
    """One record that a finding is about.

    Attributes:
        split: its split.
        text: what there is to see, for people.
        image: position of the image in the split, or None where there is nothing to show.
        objects: positions of the objects in the split, the one in question first.
        partner: (split, position) of the image that it repeats.
        file: the image file, relative to the image folder.
        image_id: original id.
        annotation_ids: ids of `objects`.
    """

    split: str
    text: str
    image: int | None = None
    objects: tuple[int, ...] = ()
    partner: tuple[str, int] | None = None
    file: str | None = None
    image_id: int | None = None
    annotation_ids: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The example as it stands in the JSON report."""
        values: dict[str, Any] = {"split": self.split, "text": self.text, "file": self.file, "image_id": self.image_id}
        if self.annotation_ids:
            values["annotation_ids"] = list(self.annotation_ids)
        return {key: value for key, value in values.items() if value is not None}


@dataclass
class Finding:
    """One kind of finding in the whole dataset.

    Attributes:
        name: a key of `KINDS`.
        counts: how often, by split; classes are counted under "" because they belong to no split.
        examples: some of them, spread over all.
    """

    name: str
    counts: dict[str, int] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        """What it means and what to do."""
        return KINDS[self.name]

    @property
    def count(self) -> int:
        """How often in all splits."""
        return sum(self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """The finding as it stands in the JSON report."""
        kind = self.kind
        return {
            "name": self.name,
            "severity": kind.severity,
            "count": self.count,
            "by_split": {name: count for name, count in self.counts.items() if name},
            "meaning": kind.meaning,
            "action": kind.action,
            "fix": kind.fix,
            "advice": kind.advice,
            "examples": [example.to_json() for example in self.examples],
        }


@dataclass(frozen=True)
class Examination:
    """The whole of it.

    Attributes:
        dataset: the dataset folder that was examined.
        report: counts and sizes by split, as of reading.
        findings: gravest first, then in the order of `KINDS`.
        classes: objects and images of every class, by split.
        preprocess: what decides the resolution at which objects count as small.
    """

    dataset: Path
    report: Report
    findings: list[Finding]
    classes: list[ClassCounts]
    preprocess: PreprocessConfig

    def count(self, severity: Severity) -> int:
        """How many kinds of finding of this severity there are."""
        return sum(finding.kind.severity == severity for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The JSON report."""
        splits = {name: split.to_json() for name, split in self.report.splits.items()}
        for values in splits.values():
            del values["classes"], values["findings"]  # both are told for all splits together
        return {
            "findings": [finding.to_json() for finding in self.findings],
            "severities": {severity: self.count(severity) for severity in SEVERITIES},
            "splits": splits,
            "classes": [entry.to_json() for entry in self.classes],
            "input": self.preprocess.model_dump(mode="json", include={"short_side", "long_side", "canvas"}),
        }


def examine_dataset(dataset: Path, preprocess: PreprocessConfig) -> Examination:
    """Examine a dataset folder: seconds for a million objects, because no image is opened.

    Args:
        dataset: what `prepare` wrote.
        preprocess: how images become network input.

    Raises:
        UserError: no dataset folder, or a damaged one.
    """
    report = read_report(dataset)
    splits = {name: Split.open(dataset, name) for name in report.splits}
    collector = _Collector()
    for name, split in splits.items():
        _examine_split(name, split, preprocess, collector)
    _examine_images(splits, collector)
    classes = count_classes(splits)
    for name, class_names in judge_classes(classes).items():
        collector.add(name, "", class_names, lambda class_name: Example("", f"'{class_name}'"))
    for name, read in report.splits.items():
        for finding in read.findings:
            # The index tells more of what was noted while reading, too: where it is, and in which split.
            if finding.name not in collector.examined:
                texts = zip(range(finding.count), finding.examples, strict=False)
                collector.extend(finding.name, name, finding.count, [Example(name, text) for _, text in texts])
    return Examination(dataset, report, collector.ordered(), classes, preprocess)


def input_scales(sizes: NDArray[np.int32], preprocess: PreprocessConfig) -> NDArray[np.float64]:
    """(images,) factors by which images of (images, 2) height and width are scaled on their way into the network."""
    longest, shortest = sizes.max(axis=1), sizes.min(axis=1)
    if preprocess.canvas is not None:
        return preprocess.canvas / longest
    # The sides may be given in either order, as in `rescaled_size`.
    short_side, long_side = sorted((preprocess.short_side, preprocess.long_side))
    return np.minimum(long_side / longest, short_side / shortest)


class _Collector:
    """Findings of all splits, by name, and the names of what was looked for in the index."""

    def __init__(self) -> None:
        self.findings: dict[str, Finding] = {}
        self.examined: set[str] = set()

    def extend(self, name: str, split: str, count: int, examples: Iterable[Example]) -> None:
        if count:
            finding = self.findings.setdefault(name, Finding(name))
            finding.counts[split] = finding.counts.get(split, 0) + count
            finding.examples.extend(examples)

    def add(
        self, name: str, split: str, items: Sequence[Any] | NDArray[np.int64], example: Callable[[Any], Example]
    ) -> None:
        """Count the items, and make examples of some that are spread over all of them."""
        self.examined.add(name)
        chosen = np.unique(np.linspace(0, len(items) - 1, min(len(items), MAX_EXAMPLES)).astype(int))
        self.extend(name, split, len(items), [example(items[k]) for k in chosen])

    def ordered(self) -> list[Finding]:
        known = [self.findings[name] for name in KINDS if name in self.findings]
        return sorted(known, key=lambda finding: SEVERITIES.index(finding.kind.severity))


def _examine_split(name: str, split: Split, preprocess: PreprocessConfig, collector: _Collector) -> None:
    arrays = split.arrays
    objects, segmentations = SplitObjects.of(arrays), measure_segmentations(arrays)
    repeated = box_checks.find_repeated(objects)
    same_class, other_class = box_checks.find_same_place(objects, repeated)
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
        x, y, width, height = (float(number) for number in objects.boxes_xywh[k])
        i = int(objects.image_index[k])
        shape = "{}x{}".format(*objects.sizes_wh[k])
        text = f"'{split.names[objects.labels[k]]}' [{x:.6g}, {y:.6g}, {width:.6g}, {height:.6g}] in {shape}"
        if partner >= 0:
            text += f", over '{split.names[objects.labels[partner]]}'"
        elif not np.isnan(segmentations.areas[k]):
            extent, area = _box_text(segmentations.extents_xyxy[k]), segmentations.areas[k]
            text += f", area {objects.areas[k]:.6g}, segmentation {extent} {area:.6g}"
        else:
            text += f", area {objects.areas[k]:.6g}"
        ids = tuple(int(arrays["annotation_ids"][o]) for o in involved)
        return Example(name, printable(text), i, involved, None, *_image(split, i), ids)

    for kind, partner in partners.items():
        collector.add(kind, name, np.flatnonzero(partner >= 0), partial(_with_partner, example, partner))
    for kind, mask in masks.items():
        collector.add(kind, name, np.flatnonzero(mask), example)
    empty = np.flatnonzero(np.diff(arrays["object_offsets"]) == 0)
    collector.add("image_empty", name, empty, lambda i: _image_example(name, split, int(i)))


def _with_partner(example: Callable[[int, int], Example], partner: NDArray[np.int64], k: int) -> Example:
    return example(k, int(partner[k]))


def _examine_images(splits: dict[str, Split], collector: _Collector) -> None:
    found = find_repetitions({name: split.arrays for name, split in splits.items()})
    kinds: dict[str, list[Pair]] = {
        "image_file_shared": found.shared,
        "image_content_repeated": [pair for pair in found.repeated if not _between_sources(pair, splits)],
        "image_in_several_sources": [pair for pair in found.repeated if _between_sources(pair, splits)],
        "image_nearly_repeated": found.alike,
        "image_leaked": found.leaked,
        "image_nearly_leaked": found.nearly_leaked,
    }
    for kind, pairs in kinds.items():
        for name, split in splits.items():
            own = [pair for pair in pairs if pair.second[0] == name]

            def example(pair: Pair, name: str = name, split: Split = split) -> Example:
                other, position = pair.first
                file, _ = _image(splits[other], position)
                place = "" if other == name else f" of {other}"
                return _image_example(name, split, pair.second[1], f" and '{file}'{place}", pair.first)

            collector.add(kind, name, own, example)


def _between_sources(pair: Pair, splits: dict[str, Split]) -> bool:
    (split, first), (_, second) = pair.first, pair.second
    return splits[split].source(first) != splits[split].source(second)


def _image_example(name: str, split: Split, i: int, text: str = "", partner: tuple[str, int] | None = None) -> Example:
    file, image_id = _image(split, i)
    return Example(name, printable(f"'{file}'{text}"), i, (), partner, file, image_id)


def _image(split: Split, i: int) -> tuple[str, int]:
    return split.relative_path(i), int(split.image_ids[i])


def _box_text(xyxy: NDArray[np.float64]) -> str:
    x1, y1, x2, y2 = (float(number) for number in xyxy)
    return f"[{x1:.6g}, {y1:.6g}, {x2 - x1:.6g}, {y2 - y1:.6g}]"


LEVELS: dict[str, tuple[Severity, ...]] = {"error": ("error",), "warning": ("error", "warning"), "never": ()}
"""The severities that fail an examination, by what the command line calls them."""


def fails(examination: Examination, level: str) -> bool:
    """Whether there is a finding that is at least as grave as the level says."""
    return any(finding.kind.severity in LEVELS[level] for finding in examination.findings)
