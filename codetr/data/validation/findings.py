"""What was dropped, repaired or merely noticed while preparing a dataset: by name, counted, with examples."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from codetr.data.validation.finding_kinds import KINDS, Action, Kind

MAX_EXAMPLES = 20

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


@dataclass
class ReadEntry:
    """One entry of an annotation file, and what reading made of it.

    Attributes:
        part: what it is an entry of: "file" (the file itself), "categories", "category names", "frequencies", "images",
            "image files" or "annotations".
        key: position in the file's list; of category names and image files the id of the category or image.
        findings: kinds of finding, in the order in which they were found.
        value: what it was read as: the corrected fields, None for one that has to be left out; of an annotation the
            checked annotation, or None.
    """

    part: str
    key: int
    findings: list[str] = field(default_factory=list)
    value: Any = None


Recorder = Callable[[ReadEntry], None]
"""Takes note of every entry of an annotation file."""


class Findings:
    """The findings of one split.

    Args:
        recorder: called with every entry of the annotation file that was read one by one.

    Attributes:
        places: what `images[i]`, `annotations[i]` and `categories[i]` at the start of an example stand for where the
            records were not read from a COCO file: by the name of the list, the file and line (or object) of each.
    """

    def __init__(self, recorder: Recorder | None = None) -> None:
        self._recorder = recorder
        self._entry: ReadEntry | None = None
        self._by_name: dict[str, Finding] = {}
        self.places: Mapping[str, Sequence[str]] = {}

    def add(self, name: str, example: str) -> None:
        """Count a finding; the first examples are kept, shortened, with control characters made visible."""
        if name not in KINDS:
            raise KeyError(f"'{name}' is not a kind of finding")
        finding = self._by_name.setdefault(name, Finding(name))
        finding.count += 1
        if self._entry is not None and name not in self._entry.findings:
            self._entry.findings.append(name)
        if len(finding.examples) < MAX_EXAMPLES:
            finding.examples.append(printable(self._placed(example)))

    @contextmanager
    def of_entry(self, part: str, key: int) -> Iterator[ReadEntry]:
        """Count the findings that are added within the block as those of one entry; the block sets its `value`."""
        self._entry = entry = ReadEntry(part, key)
        try:
            yield entry
        finally:
            self._entry = None
        if self._recorder is not None:
            self._recorder(entry)

    def extend(self, other: Findings, prefix: str) -> None:
        """Count the findings of one source too; `prefix` says in its examples which one it is."""
        for found in other.all():
            finding = self._by_name.setdefault(found.name, Finding(found.name))
            finding.count += found.count
            room = MAX_EXAMPLES - len(finding.examples)
            finding.examples += [printable(f"{prefix}{example}") for example in found.examples[:room]]

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


def printable(text: str) -> str:
    """A text of any length with names from outside in it, shortened, with control characters made visible."""
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return shown if len(shown) <= 300 else f"{shown[:297]}..."
