"""Collect findings while annotations are read: what was dropped, repaired or noticed, counted, with examples."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from codetr.core.text import mask_secrets, printable
from codetr.data.validation.finding_kind import Action, FindingKind
from codetr.data.validation.finding_kinds import KINDS

MAX_EXAMPLES = 20
"""Limit on examples of one kind of finding."""

_POSITION = re.compile(r"(images|annotations|categories)\[(\d+)\](?: \(id [^)]*\))?")


@dataclass
class Finding:
    """One kind of finding in one split."""

    name: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def kind(self) -> FindingKind:
        """What it means and how the records were handled."""
        return KINDS[self.name]

    def to_json(self) -> dict[str, Any]:
        """Return the finding as it stands in `doctor.json`."""
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
            "image files", "annotations", or "boxes" (all of them together).
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
        source_lines: for formats other than COCO, the file and line (or object) of every record, by the name of the
            list. They replace `images[i]`, `annotations[i]` and `categories[i]` at the start of examples.
    """

    def __init__(self, recorder: Recorder | None = None) -> None:
        self._recorder = recorder
        self._entry: ReadEntry | None = None
        self._by_name: dict[str, Finding] = {}
        self.source_lines: dict[str, Sequence[str]] = {}

    def add(self, name: str, example: str) -> None:
        """Count a finding. The first examples are kept, shortened and with control characters escaped."""
        if name not in KINDS:
            raise KeyError(f"'{name}' is not a kind of finding")
        finding = self._by_name.setdefault(name, Finding(name))
        finding.count += 1
        if self._entry is not None and name not in self._entry.findings:
            self._entry.findings.append(name)
        if len(finding.examples) < MAX_EXAMPLES:
            finding.examples.append(example_text(self._with_source_line(example)))

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
        """Add the findings of one source; its examples get a prefix that names the source."""
        for found in other.all():
            finding = self._by_name.setdefault(found.name, Finding(found.name))
            finding.count += found.count
            room = MAX_EXAMPLES - len(finding.examples)
            finding.examples += [example_text(f"{prefix}{example}") for example in found.examples[:room]]

    def _with_source_line(self, example: str) -> str:
        match = _POSITION.match(example)
        if match is None or match[1] not in self.source_lines:
            return example
        return self.source_lines[match[1]][int(match[2])] + example[match.end() :]

    def count(self, name: str) -> int:
        """Return how often a kind was found."""
        return self._by_name[name].count if name in self._by_name else 0

    def all(self) -> list[Finding]:
        """Return all findings, in the order of `KINDS`."""
        return [self._by_name[name] for name in KINDS if name in self._by_name]

    def summary(self, action: Action | None = None) -> str:
        """Return names and counts of the findings (with one action), for error messages."""
        found = [f"{finding.name} {finding.count}" for finding in self.all() if action in (None, finding.kind.action)]
        return ", ".join(found) or "none"


def short(value: Any) -> str:
    """Return the representation of a value of any type, cut to a length that fits an example."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def example_text(text: str) -> str:
    """Return a text that may contain untrusted names, shortened, without control characters and passwords of addresses.

    Variables of the environment do not count as secrets here: equal datasets would have different reports.
    """
    shown = printable(mask_secrets(text, environment={}))
    return shown if len(shown) <= 300 else f"{shown[:297]}..."
