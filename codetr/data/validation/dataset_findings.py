"""Findings of a whole dataset: those of all splits together, with examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.data.validation.finding_kind import SEVERITIES, FindingKind
from codetr.data.validation.finding_kinds import KINDS
from codetr.data.validation.findings import MAX_EXAMPLES


@dataclass(frozen=True)
class Example:
    """One record that a finding is about.

    Attributes:
        split: its split; "" for a class.
        text: a description for people.
        image: position of the image in the split, None if there is nothing to show.
        objects: positions of the objects in the split, the one that the finding is about first.
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
        """Return the example as it stands in a JSON report."""
        values: dict[str, Any] = {"split": self.split, "text": self.text, "file": self.file, "image_id": self.image_id}
        if self.annotation_ids:
            values["annotation_ids"] = list(self.annotation_ids)
        return {key: value for key, value in values.items() if value is not None}


@dataclass
class DatasetFinding:
    """One kind of finding in a whole dataset.

    Attributes:
        name: a key of `KINDS`.
        counts: how often, by split; under "" for classes, which belong to no split.
        examples: some of them.
    """

    name: str
    counts: dict[str, int] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)

    @property
    def kind(self) -> FindingKind:
        """What it means and what to do."""
        return KINDS[self.name]

    @property
    def count(self) -> int:
        """How often in all splits."""
        return sum(self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """Return the finding as it stands in a JSON report."""
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


class DatasetFindings:
    """The findings of all splits of a dataset, by kind.

    Attributes:
        examined: kinds that were looked for with `add`, found or not.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, DatasetFinding] = {}
        self.examined: set[str] = set()

    def extend(self, name: str, split: str, count: int, examples: Iterable[Example]) -> None:
        """Count findings of one kind in a split, and add these examples."""
        if count:
            finding = self._by_name.setdefault(name, DatasetFinding(name))
            finding.counts[split] = finding.counts.get(split, 0) + count
            finding.examples.extend(examples)

    def add(
        self, name: str, split: str, items: Sequence[Any] | NDArray[np.int64], example: Callable[[Any], Example]
    ) -> None:
        """Count the items as findings of one kind, and make examples of some, spread evenly over them."""
        self.examined.add(name)
        chosen = np.unique(np.linspace(0, len(items) - 1, min(len(items), MAX_EXAMPLES)).astype(int))
        self.extend(name, split, len(items), [example(items[k]) for k in chosen])

    def ordered(self) -> list[DatasetFinding]:
        """Return the findings by severity, errors first, then in the order of `KINDS`."""
        known = [self._by_name[name] for name in KINDS if name in self._by_name]
        return sorted(known, key=lambda finding: SEVERITIES.index(finding.kind.severity))
