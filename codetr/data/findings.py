"""What was dropped, repaired or merely noticed while preparing a dataset: by name, counted, with examples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

MAX_EXAMPLES = 20

Action = Literal["dropped", "repaired", "kept"]


@dataclass(frozen=True)
class Kind:
    """A kind of finding: what happens to the record, and why that is right."""

    action: Action
    meaning: str


KINDS: dict[str, Kind] = {
    # The annotation file.
    "file_encoding": Kind("repaired", "a byte-order mark or UTF-16 instead of plain UTF-8; decoded"),
    "label_file_missing": Kind("kept", "YOLO: no label file; an image without objects"),
    # Categories.
    "category_malformed": Kind("dropped", "not an object, or no usable id"),
    "category_repeated": Kind("repaired", "the same id and name listed twice; merged"),
    "category_renamed": Kind("repaired", "no printable name, or the name of another category; named after its id"),
    "category_id_converted": Kind("repaired", "an id given as text or decimal number; read as an integer"),
    "category_frequency_invalid": Kind("dropped", "a frequency other than r, c and f, or an image_count that is none"),
    "category_id_renumbered": Kind("repaired", "another id than in an earlier source; that of the earlier one counts"),
    # Images.
    "image_malformed": Kind("dropped", "not an object, or no usable id"),
    "image_id_converted": Kind("repaired", "an id given as text or decimal number; read as an integer"),
    "image_id_numbered": Kind("repaired", "an id that is no number; a free integer takes its place everywhere"),
    "image_id_renumbered": Kind("repaired", "an id that an image of an earlier source has; a free one takes its place"),
    "image_repeated": Kind("repaired", "the same id and file listed twice; merged"),
    "image_unnamed": Kind("dropped", "neither file_name nor coco_url"),
    "image_name_from_url": Kind("repaired", "no file_name; the end of coco_url names the file"),
    "image_name_adapted": Kind("repaired", "found under another spelling: slashes, `..`, or Unicode form"),
    "image_unsafe_path": Kind(
        "dropped", "absolute, a URL, with control characters, or leading out of the image folder"
    ),
    "image_missing": Kind("dropped", "no such file in the image folder"),
    "image_unreadable": Kind("dropped", "not an image, damaged, cut short, or more pixels than are safe to decode"),
    "image_size_missing": Kind("repaired", "no width or height; taken from the file"),
    "image_size_wrong": Kind("repaired", "width and height differ from the file's; the file counts"),
    "image_orientation_ignored": Kind(
        "repaired", "the declared size is that before EXIF rotation, so the annotations are too; read as stored"
    ),
    "image_frames_ignored": Kind("kept", "several pages or animation frames; the first is used"),
    "image_federated": Kind("kept", "LVIS's lists of verified categories; evaluation follows LVIS's rules"),
    "image_verified_unknown": Kind("dropped", "an entry of LVIS's lists that is no listed category"),
    "image_file_shared": Kind("kept", "one file listed under several image ids"),
    "image_content_repeated": Kind("kept", "files of different names with identical content"),
    "image_in_several_sources": Kind("kept", "identical content in two sources of one split"),
    # Annotations.
    "annotation_malformed": Kind("dropped", "not an object, or no row of a YOLO label file"),
    "annotation_image_unknown": Kind("dropped", "its image_id is missing or not listed"),
    "annotation_image_dropped": Kind("dropped", "its image was dropped"),
    "annotation_category_unknown": Kind("dropped", "its category_id is missing or not listed"),
    "annotation_id_assigned": Kind(
        "repaired", "its id is missing, no integer, 0 (which the COCO metrics take for 'no match') or used before"
    ),
    "annotation_id_renumbered": Kind(
        "repaired", "an id that an annotation of an earlier source has; a free one takes its place"
    ),
    "annotation_repeated": Kind("kept", "same image, category and box as another annotation"),
    "annotation_ignored": Kind("kept", "marked with ignore; evaluated, not trained on"),
    "annotation_difficult": Kind("kept", "marked as difficult in VOC; a crowd: evaluated as such, not trained on"),
    "box_missing": Kind("dropped", "neither bbox nor a segmentation to derive it from"),
    "box_from_segmentation": Kind("repaired", "no bbox; derived from the segmentation"),
    "box_malformed": Kind("dropped", "not four numbers"),
    "box_from_text": Kind("repaired", "numbers given as text"),
    "box_not_finite": Kind("dropped", "NaN, infinity, or more than a million pixels"),
    "box_negative": Kind("dropped", "negative width or height"),
    "box_empty": Kind("dropped", "zero width or height"),
    "box_outside": Kind("dropped", "wholly outside the image"),
    "box_exceeds_image": Kind("kept", "sticks out by more than a pixel; clipped for training"),
    "box_tiny": Kind("kept", "narrower or lower than a pixel inside the image; evaluated, not trained on"),
    "area_missing": Kind("repaired", "no area; computed from the segmentation, else the box"),
    "area_invalid": Kind("repaired", "negative or not a finite number; computed from the segmentation, else the box"),
    "area_disagrees": Kind("kept", "larger than the box, or without segmentation not the box's area"),
    "crowd_flag_converted": Kind("repaired", "iscrowd other than 0 or 1; read as a truth value"),
    "segmentation_part_dropped": Kind("repaired", "a polygon of fewer than three points or an odd number of values"),
    "segmentation_dropped": Kind("repaired", "not a polygon list or run-length code of the image's size; box kept"),
    "segmentation_exceeds_image": Kind("kept", "polygon points outside the image"),
}
"""Every finding there is, in the order in which records meet them. docs/data.md shows it as a table."""


_POSITION = re.compile(r"(images|annotations|categories)\[(\d+)\](?: \(id [^)]*\))?")


@dataclass
class Finding:
    """One kind of finding in one split."""

    name: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        """What happened to the records and why."""
        return KINDS[self.name]

    def to_json(self) -> dict[str, Any]:
        """The finding as it stands in `doctor.json`."""
        return {
            "name": self.name,
            "action": self.kind.action,
            "meaning": self.kind.meaning,
            "count": self.count,
            "examples": self.examples,
        }


class Findings:
    """The findings of one split.

    Attributes:
        places: what `images[i]`, `annotations[i]` and `categories[i]` at the start of an example stand for where the
            records were not read from a COCO file: by the name of the list, the file and line (or object) of each.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Finding] = {}
        self.places: Mapping[str, Sequence[str]] = {}

    def add(self, name: str, example: str) -> None:
        """Count a finding; the first examples are kept, shortened, with control characters made visible."""
        if name not in KINDS:
            raise KeyError(f"'{name}' is not a kind of finding")
        finding = self._by_name.setdefault(name, Finding(name))
        finding.count += 1
        if len(finding.examples) < MAX_EXAMPLES:
            finding.examples.append(_printable(self._placed(example)))

    def extend(self, other: Findings, prefix: str) -> None:
        """Count the findings of one source too; `prefix` says in its examples which one it is."""
        for found in other.all():
            finding = self._by_name.setdefault(found.name, Finding(found.name))
            finding.count += found.count
            room = MAX_EXAMPLES - len(finding.examples)
            finding.examples += [_printable(f"{prefix}{example}") for example in found.examples[:room]]

    def _placed(self, example: str) -> str:
        match = _POSITION.match(example)
        if match is None or match[1] not in self.places:
            return example
        return self.places[match[1]][int(match[2])] + example[match.end() :]

    def count(self, name: str) -> int:
        """How often a kind was found."""
        return self._by_name[name].count if name in self._by_name else 0

    def all(self) -> list[Finding]:
        """Every finding, in the order of `KINDS`."""
        return [self._by_name[name] for name in KINDS if name in self._by_name]

    def summary(self, action: Action | None = None) -> str:
        """Names and counts of the findings (with one action), for error messages."""
        found = [f"{finding.name} {finding.count}" for finding in self.all() if action in (None, finding.kind.action)]
        return ", ".join(found) or "none"


def short(value: Any) -> str:
    """A value of any type as it stands in an annotation file, cut to a length that fits an example."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _printable(text: str) -> str:
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return shown if len(shown) <= 300 else f"{shown[:297]}..."
