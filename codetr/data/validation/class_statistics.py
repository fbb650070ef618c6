"""Count the objects and images of every class, and find classes with too few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

RARE = 10
"""Number of objects in train below which a class counts as rare."""

IMBALANCE = 100
"""Ratio of the objects of the most frequent class to those of a class from which on classes count as imbalanced."""


@dataclass(frozen=True)
class ClassStatistics:
    """One class of a dataset.

    Attributes:
        name: its name.
        category_id: its original id.
        objects: objects that are trained on, by split.
        images: images with such objects, by split.
    """

    name: str
    category_id: int
    objects: dict[str, int]
    images: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the class as it stands in JSON reports."""
        return {"name": self.name, "id": self.category_id, "objects": self.objects, "images": self.images}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read what `to_json` returned."""
        return cls(values["name"], values["id"], dict(values["objects"]), dict(values["images"]))


def find_in_classes(classes: Sequence[ClassStatistics]) -> Iterator[tuple[str, str]]:
    """Yield a kind of finding and the class name for everything that is to be said about classes."""
    most = max(entry.objects["train"] for entry in classes)
    for entry in classes:
        trained = entry.objects["train"]
        if not any(entry.objects.values()):
            yield "class_unused", entry.name
        elif not trained:
            yield "class_untrained", entry.name
        else:
            if not entry.objects.get("val", trained):
                yield "class_unevaluated", entry.name
            if trained < RARE:
                yield "class_rare", entry.name
            if trained * IMBALANCE < most:
                yield "class_imbalance", entry.name
