"""What a repair changed in a file, entry by entry, and for which findings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from codetr.data.lvis import NEGATIVE, NOT_EXHAUSTIVE
from codetr.data.validation.findings import Findings
from codetr.data.validation.ids import as_integer

CHANGES = "changes.jsonl"


@dataclass
class Changes:
    """What was changed in one file.

    Attributes:
        split: the file's split.
        entries: one change each, as it stands in `changes.jsonl`.
        counts: number of changes by (finding, "removed" or "corrected").
    """

    split: str
    entries: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def remove(self, kind: str, position: int, value: Any, findings: list[str]) -> None:
        """Note that an entry of the list `kind` is left out."""
        self._add(kind, position, value, "removed", findings, {"before": value})

    def correct(self, kind: str, position: int, value: Any, new: dict[str, Any], findings: list[str]) -> None:
        """Note every field in which `new` differs from `value`."""
        for name in dict.fromkeys((*value, *new)):
            before, after = ({"is": entry[name]} if name in entry else None for entry in (value, new))
            if before != after or (before and after and type(before["is"]) is not type(after["is"])):
                change = {"field": name, "before": before and before["is"], "after": after and after["is"]}
                self._add(kind, position, value, "corrected", _reasons(kind, name, value, findings), change)

    def _add(
        self, kind: str, position: int, value: Any, action: str, findings: list[str], change: dict[str, Any]
    ) -> None:
        identifier = value.get("id") if isinstance(value, dict) else None
        place = {"split": self.split, "list": kind, "position": position, "id": identifier}
        self.entries.append({**place, "action": action, "findings": findings, **change})
        self.counts.update((finding, action) for finding in findings)


_KINDS_OF_FIELD = {
    ("images", "id"): ("image_id_",),
    ("images", "file_name"): ("image_name_",),
    ("images", "height"): ("image_size_",),
    ("images", "width"): ("image_size_",),
    ("images", NEGATIVE): ("image_verified_",),
    ("images", NOT_EXHAUSTIVE): ("image_verified_",),
    ("categories", "id"): ("category_id_",),
    ("categories", "name"): ("category_renamed",),
    ("categories", "frequency"): ("category_frequency_",),
    ("categories", "image_count"): ("category_frequency_",),
    ("annotations", "id"): ("annotation_id_",),
    ("annotations", "bbox"): ("box_",),
    ("annotations", "area"): ("area_",),
    ("annotations", "iscrowd"): ("crowd_",),
    ("annotations", "segmentation"): ("segmentation_",),
}
"""How the kinds of finding begin that change a field."""


def _reasons(kind: str, name: str, value: dict[str, Any], findings: list[str]) -> list[str]:
    """Why a field was changed. Ids that refer to another list are changed when those of that list are."""
    if kind == "annotations" and name in ("image_id", "category_id"):
        numbered = as_integer(value.get(name)) is None
        return ["image_id_numbered" if numbered else f"{name}_converted"]
    return [finding for finding in findings if finding.startswith(_KINDS_OF_FIELD[kind, name])]


class Journal(Findings):
    """Findings that also tell what was added since one last asked."""

    def __init__(self) -> None:
        super().__init__()
        self._fresh: list[str] = []

    def add(self, name: str, example: str) -> None:
        """Count a finding, and remember it for `take`."""
        super().add(name, example)
        self._fresh.append(name)

    def take(self) -> list[str]:
        """What was added since, each kind once."""
        fresh, self._fresh = self._fresh, []
        return list(dict.fromkeys(fresh))
