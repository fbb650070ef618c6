"""A repaired copy of annotation files, and a list of every single change that was made to them.

Entries that `prepare` accepts keep all their fields, unknown ones included. What it repairs while reading is written
repaired; what it drops is left out. Then the findings of the examination are corrected: boxes that disagree with their
segmentation or leave the image, areas, duplicates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from codetr.core.errors import UserError
from codetr.core.files import atomic_directory, require_replaceable
from codetr.data.annotation_table import AnnotationTable, CheckedAnnotation
from codetr.data.dataset.split import Split
from codetr.data.formats.coco import read_coco
from codetr.data.formats.open_source import Source, format_of
from codetr.data.ingest.annotations import AnnotationReader
from codetr.data.ingest.categories import read_categories, read_frequencies
from codetr.data.ingest.image_check import CheckedImage, check_image
from codetr.data.ingest.image_list import ImageEntry, read_image_entries
from codetr.data.ingest.write_index import build_index
from codetr.data.lvis import NEGATIVE, NOT_EXHAUSTIVE, Frequency, listed_categories
from codetr.data.segmentation import mask_area
from codetr.data.storage.image_store import open_place
from codetr.data.validation.ids import ImageIds, as_integer
from codetr.doctor import box_checks
from codetr.doctor.box_checks import Objects
from codetr.doctor.changes import CHANGES, Changes, Journal
from codetr.doctor.segmentations import Segmentations, measure_segmentations


def repairable(sources: Mapping[str, Sequence[Source]]) -> dict[str, Source]:
    """The COCO file of every split, with its image folder.

    Args:
        sources: the sources of every split.

    Raises:
        UserError: a split of several sources, or one that is no COCO file.
    """
    for split, several in sources.items():
        if len(several) > 1:
            problem = f"a repaired copy is made of one COCO file a split, and {split} has {len(several)} sources"
            hint = "Repair them one at a time, then merge the copies by `codetr prepare`."
            raise UserError(problem, where=str(several[1].annotations), hint=hint)
        annotations = several[0].annotations
        if (found := format_of(annotations)) != "coco":
            hint = (
                "Convert it: `codetr prepare`, then `Split.open(FOLDER, NAME).to_coco()` of codetr.data.dataset.split."
            )
            problem = f"a repaired copy is made of a COCO file, and {split} is {_FORMATS[found]}"
            raise UserError(problem, where=str(annotations), hint=hint)
    return {split: source for split, (source,) in sources.items()}


_FORMATS = {"voc": "Pascal VOC", "yolo": "YOLO"}


def require_copy_output(output: Path, sources: Mapping[str, Source]) -> None:
    """Raise `UserError` unless a repaired copy may be written there: it is missing, empty, or what `repair` wrote."""
    names = (CHANGES, "train.json", "val.json", "test.json")
    require_replaceable(output, "repaired copy", lambda path: names if (path / CHANGES).is_file() else None)
    for source in sources.values():
        if source.annotations.resolve().is_relative_to(output.resolve()):
            problem = f"lies in {output}, which the repaired copy would take the place of"
            raise UserError(problem, where=str(source.annotations))


def repair(sources: Mapping[str, Source], dataset: Path, output: Path) -> list[Changes]:
    """Write `SPLIT.json` for every split, and `changes.jsonl`, into a folder. Images are referenced, not copied.

    Args:
        sources: what `repairable` gives.
        dataset: the index that was made of them.
        output: where the copy goes; an earlier one is replaced as a whole.

    Returns:
        The changes by split.

    Raises:
        UserError: nothing is left of a split, or the output folder holds something else.
    """
    require_copy_output(output, sources)
    splits = {name: Split.open(dataset, name) for name in sources}
    digests = {name: [split.digest(i) for i in range(len(split))] for name, split in splits.items()}
    changes = []
    with atomic_directory(output) as folder:
        names = list(sources)
        for number, name in enumerate(names):
            later = {digest for other in names[number + 1 :] for digest in digests[other]}
            leaked = {int(splits[name].image_ids[i]) for i, digest in enumerate(digests[name]) if digest in later}
            copy = _Copy(name, sources[name], splits[name], leaked)
            # Numbers that JSON does not know stay what they were, where nobody looks at them.
            content = json.dumps(copy.content())
            (folder / f"{name}.json").write_text(content + "\n", encoding="utf-8")
            changes.append(copy.changes)
        with (folder / CHANGES).open("w", encoding="utf-8") as stream:
            for change in changes:
                stream.writelines(json.dumps(entry) + "\n" for entry in change.entries)
    return changes


@dataclass
class _Repaired:
    """An annotation on its way into the copy."""

    position: int
    entry: CheckedAnnotation
    findings: list[str]


class _Copy:
    """One annotation file, repaired."""

    def __init__(self, name: str, source: Source, split: Split, leaked: set[int]) -> None:
        self.changes = Changes(name)
        self._where, self._leaked = str(source.annotations), leaked
        self._place = open_place(source.images or Path.cwd())
        self._journal = Journal()
        self._raw = read_coco(source.annotations, self._journal)
        if encoding := self._journal.take():
            self.changes.counts.update((finding, "corrected") for finding in encoding)
        self._categories = read_categories(self._raw.categories, self._journal, self._where)
        self._ids = ImageIds([value.get("id") for value in self._raw.images if isinstance(value, dict)])
        self._entries = read_image_entries(self._raw, self._ids, self._journal, self._where)
        self._journal.take()
        self._emptied: set[int] = set()
        self._images = {int(split.image_ids[i]): _checked(split, i) for i in range(len(split))}

    def content(self) -> dict[str, Any]:
        """The repaired file: its own keys, in its own order."""
        annotations = list(self._repaired_annotations())  # before the images, of which some are emptied by it
        lists = {
            "images": list(self._repaired_images()),
            "annotations": annotations,
            "categories": list(self._repaired_categories()),
        }
        if not lists["images"]:
            raise UserError("no image is left after the repair", where=self._where)
        return {key: lists.get(key, value) for key, value in self._raw.content.items()}

    def _repaired_categories(self) -> Iterator[dict[str, Any]]:
        seen: set[int] = set()
        for position, value in enumerate(self._raw.categories):
            identifier = as_integer(value.get("id")) if isinstance(value, dict) else None
            if identifier is None or identifier in seen:
                finding = "category_malformed" if identifier is None else "category_repeated"
                self.changes.remove("categories", position, value, [finding])
                continue
            seen.add(identifier)
            new = dict(value)
            findings = []
            if type(value["id"]) is not int:
                new["id"] = identifier
                findings.append("category_id_converted")
            name = value.get("name")
            if not isinstance(name, str) or name.strip() != self._categories[identifier]:
                new["name"] = self._categories[identifier]
                findings.append("category_renamed")
            valid = read_frequencies([value], self._categories, self._journal).get(identifier, Frequency(None, None))
            findings += self._journal.take()
            if "category_frequency_invalid" in findings:
                parts = {"frequency": valid.group, "image_count": valid.image_count}
                new = {key: part for key, part in new.items() if parts.get(key, part) is not None}
            self.changes.correct("categories", position, value, new, findings)
            yield new

    def _repaired_images(self) -> Iterator[dict[str, Any]]:
        entries = {entry.image_id: entry for entry in self._entries}
        seen: set[int] = set()
        for position, value in enumerate(self._raw.images):
            identifier = self._ids.resolve(value.get("id")) if isinstance(value, dict) else None
            findings = []
            if identifier is None:
                findings = ["image_malformed"]
            elif identifier in seen:
                findings = ["image_repeated"]
            elif identifier in self._leaked:
                findings = ["image_leaked"]
            elif identifier in self._emptied:
                findings = ["image_emptied"]
            elif identifier not in self._images:
                findings = [name for name, _ in check_image(entries[identifier], self._place).findings]
            if findings or identifier is None:
                self.changes.remove("images", position, value, findings)
                continue
            seen.add(identifier)
            new, findings = self._repaired_image(value, entries[identifier], self._images[identifier])
            self.changes.correct("images", position, value, new, findings)
            yield new

    def _repaired_image(
        self, value: dict[str, Any], entry: ImageEntry, image: CheckedImage
    ) -> tuple[dict[str, Any], list[str]]:
        new, findings = dict(value), []
        if type(value["id"]) is not int:
            new["id"] = entry.image_id
            numbered = as_integer(value["id"]) is None
            findings.append("image_id_numbered" if numbered else "image_id_converted")
        if entry.named_by_url or image.path != entry.names[0]:
            new["file_name"] = image.path
            findings.append("image_name_from_url" if entry.named_by_url else "image_name_adapted")
        if entry.size != (image.height, image.width):
            new["height"], new["width"] = image.height, image.width
            findings.append("image_size_missing" if entry.size is None else "image_size_wrong")
        unknown: list[str] = []
        for name in (NEGATIVE, NOT_EXHAUSTIVE):
            raw = listed_categories(value, name)
            known = [item for item in raw if as_integer(item) in self._categories]
            if len(known) < len(raw):
                new[name], unknown = known, ["image_verified_unknown"]
        return new, findings + unknown

    def _repaired_annotations(self) -> Iterator[dict[str, Any]]:
        listed = {entry.image_id for entry in self._entries}
        reader = AnnotationReader(self._images, listed, self._ids, self._categories, self._journal)
        values = self._raw.annotations
        kept: list[_Repaired] = []
        removed: dict[int, list[str]] = {}
        for position, entry in enumerate(reader.read_each(values)):
            findings = self._journal.take()
            if entry is None:
                removed[position] = findings
            elif entry.image_id in self._leaked:
                removed[position] = ["image_leaked"]
            else:
                kept.append(_Repaired(position, entry, findings))
        self._emptied = set(reader.emptied([repaired.entry.image_id for repaired in kept]))
        left = {repaired.position: repaired for repaired in self._mended(kept, removed)}
        for position, value in enumerate(values):
            if position in removed:
                self.changes.remove("annotations", position, value, removed[position])
                continue
            repaired = left[position]
            new = _written(value, repaired.entry)
            self.changes.correct("annotations", position, value, new, repaired.findings)
            yield new

    def _measure(self, kept: list[_Repaired]) -> tuple[list[_Repaired], Objects, Segmentations]:
        """The annotations in the order of the index, with what the examination asks for."""
        by_id = {repaired.entry.annotation_id: repaired for repaired in kept}
        labels = {identifier: label for label, identifier in enumerate(self._categories)}
        arrays = build_index(
            list(self._images.values()), AnnotationTable.of([repaired.entry for repaired in kept]), labels
        )
        return [by_id[int(k)] for k in arrays["annotation_ids"]], Objects.of(arrays), measure_segmentations(arrays)

    def _mended(self, kept: list[_Repaired], removed: dict[int, list[str]]) -> list[_Repaired]:
        """Correct segmentations, then boxes, then areas (each depends on the ones before), then remove duplicates."""
        kept, objects, segmentations = self._measure(kept)
        with np.errstate(invalid="ignore"):
            if self._repair_segmentations(kept, objects, segmentations):
                kept, objects, segmentations = self._measure(kept)
            self._mend_boxes(kept, objects, segmentations)
            self._mend_areas(kept, objects, segmentations)
        return self._without_copies(kept, objects, removed)

    def _repair_segmentations(self, kept: list[_Repaired], objects: Objects, segmentations: Segmentations) -> bool:
        exceeding = np.flatnonzero(box_checks.segmentation_exceeds_image(objects, segmentations))
        for k in exceeding:
            repaired = kept[k]
            width, height = (int(side) for side in objects.bounds[k])
            assert isinstance(repaired.entry.segmentation, list)  # a run-length code cannot leave its image
            polygons = [
                [min(max(number, 0), (width, height)[axis % 2]) for axis, number in enumerate(polygon)]
                for polygon in repaired.entry.segmentation
            ]
            inside = [polygon for polygon in polygons if len(set(polygon[::2])) > 1 and len(set(polygon[1::2])) > 1]
            repaired.entry = replace(repaired.entry, segmentation=inside or None)
        return len(exceeding) > 0

    def _mend_boxes(self, kept: list[_Repaired], objects: Objects, segmentations: Segmentations) -> None:
        disagree = box_checks.box_disagrees_with_segmentation(objects, segmentations)
        exceed = box_checks.exceeds_image(objects)
        extents, inside = box_checks.clip(segmentations.extents, objects.bounds), objects.inside
        for k in np.flatnonzero(disagree | exceed):
            x1, y1, x2, y2 = (float(number) for number in (extents if disagree[k] else inside)[k])
            box = x1, y1, x2 - x1, y2 - y1
            kept[k].entry = replace(kept[k].entry, box_xywh=box)
            objects.xywh[k], objects.xyxy[k] = box, (x1, y1, x2, y2)
            if disagree[k]:
                kept[k].findings.append("box_disagrees_with_segmentation")

    def _mend_areas(self, kept: list[_Repaired], objects: Objects, segmentations: Segmentations) -> None:
        against_box = box_checks.area_disagrees(objects, segmentations)
        against_segmentation = box_checks.area_disagrees_with_segmentation(objects, segmentations)
        for k in np.flatnonzero(against_box | against_segmentation):
            entry = kept[k].entry
            width, height = (int(side) for side in objects.bounds[k])
            area = entry.box_xywh[2] * entry.box_xywh[3]
            if entry.segmentation is not None:
                area = mask_area(entry.segmentation, height, width)
            kept[k].entry = replace(entry, area=area)
            name = "area_disagrees" if against_box[k] else "area_disagrees_with_segmentation"
            if name not in kept[k].findings:
                kept[k].findings.append(name)

    def _without_copies(
        self, kept: list[_Repaired], objects: Objects, removed: dict[int, list[str]]
    ) -> list[_Repaired]:
        """What is left when objects without extent and copies of others are removed."""
        tiny = box_checks.is_tiny(objects)
        for k in np.flatnonzero(tiny):
            removed[kept[k].position] = list(dict.fromkeys([*kept[k].findings, "box_tiny"]))
        kept, objects = [repaired for repaired, gone in zip(kept, tiny, strict=True) if not gone], objects.take(~tiny)
        repeated = box_checks.find_repeated(objects)
        same_class, _ = box_checks.find_same_place(objects, repeated)
        for name, partners in (("annotation_repeated", repeated), ("box_nearly_repeated", same_class)):
            for k in np.flatnonzero(partners >= 0):
                removed[kept[k].position] = [*kept[k].findings, name]
        return [repaired for repaired in kept if repaired.position not in removed]


def _written(value: dict[str, Any], entry: CheckedAnnotation) -> dict[str, Any]:
    """An annotation of the file with what differs in its repaired form; equal values stay in their own spelling."""
    new = dict(value)
    for name, integer in (
        ("id", entry.annotation_id),
        ("image_id", entry.image_id),
        ("category_id", entry.category_id),
        ("iscrowd", int(entry.iscrowd)),
    ):
        raw = value.get(name, 0 if name == "iscrowd" else None)
        if type(raw) is not int or raw != integer:
            new[name] = integer
    if value.get("bbox") != list(entry.box_xywh):
        new["bbox"] = list(entry.box_xywh)
    if isinstance(value.get("area"), bool) or value.get("area") != entry.area:
        new["area"] = entry.area
    segmentation = value.get("segmentation")
    if entry.segmentation is not None and segmentation != entry.segmentation:
        new["segmentation"] = entry.segmentation
    elif entry.segmentation is None and segmentation and any(segmentation):
        new["segmentation"] = []
    return new


def _checked(split: Split, i: int) -> CheckedImage:
    arrays = split.arrays
    height, width = (int(side) for side in arrays["sizes"][i])
    return CheckedImage(
        int(arrays["image_ids"][i]),
        split.relative_path(i),
        height,
        width,
        bool(arrays["upright"][i]),
        split.digest(i),
        int(arrays["file_sizes"][i]),
        fingerprint=int(arrays["fingerprints"][i]),
    )
