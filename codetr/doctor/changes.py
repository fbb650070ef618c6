"""List what a repair changed in a file, entry by entry, and for which findings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from codetr.data.lvis import NEGATIVE, NOT_EXHAUSTIVE
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

    def remove(self, name: str, position: int, value: Any, findings: list[str]) -> None:
        """Note that an entry of the list `name` is left out."""
        self._add(name, position, value, "removed", findings, {"before": value})

    def correct(
        self, name: str, position: int, value: dict[str, Any], new: dict[str, Any], findings: list[str]
    ) -> None:
        """Note every field in which `new` differs from `value`, an entry of the list `name`."""
        for key in dict.fromkeys((*value, *new)):
            before, after = ({"is": entry[key]} if key in entry else None for entry in (value, new))
            if before != after or (before and after and type(before["is"]) is not type(after["is"])):
                change = {"field": key, "before": before and before["is"], "after": after and after["is"]}
                self._add(name, position, value, "corrected", _reasons(name, key, value, new, findings), change)

    def _add(
        self, name: str, position: int, value: Any, action: str, findings: list[str], change: dict[str, Any]
    ) -> None:
        identifier = value.get("id") if isinstance(value, dict) else None
        entry = {"split": self.split, "list": name, "position": position, "id": identifier}
        self.entries.append({**entry, "action": action, "findings": findings, **change})
        self.counts.update((finding, action) for finding in findings)


_FINDINGS_OF_FIELD = {
    ("images", "id"): "image_id_",
    ("images", "file_name"): "image_name_",
    ("images", "height"): "image_size_",
    ("images", "width"): "image_size_",
    ("images", NEGATIVE): "image_verified_",
    ("images", NOT_EXHAUSTIVE): "image_verified_",
    ("categories", "id"): "category_id_",
    ("categories", "name"): "category_renamed",
    ("categories", "frequency"): "category_frequency_",
    ("categories", "image_count"): "category_frequency_",
    ("annotations", "id"): "annotation_id_",
    ("annotations", "bbox"): "box_",
    ("annotations", "area"): "area_",
    ("annotations", "iscrowd"): "crowd_",
    ("annotations", "segmentation"): "segmentation_",
}
"""Prefix of the findings that change a field."""


def _reasons(name: str, key: str, value: dict[str, Any], new: dict[str, Any], findings: list[str]) -> list[str]:
    """Return why a field was changed. Ids that refer to another list are changed when those of that list are."""
    if name == "annotations" and key in ("image_id", "category_id"):
        return [f"{key}_converted" if as_integer(value.get(key)) == new[key] else f"{key}_numbered"]
    # A segmentation that vanishes beside its box is left out because the two disagree.
    also = ("box_disagrees_with_segmentation",) if key == "segmentation" else ()
    return [finding for finding in findings if finding.startswith((_FINDINGS_OF_FIELD[name, key], *also))]
