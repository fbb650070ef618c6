"""How the objects of a dataset are spread over its classes and splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codetr.data.dataset.split import Split
from codetr.data.loading.samplers import images_per_class

RARE = 10
"""Objects in train below which a class counts as rare."""

IMBALANCE = 100
"""How many times as many objects the most frequent class may have."""


@dataclass(frozen=True)
class ClassCounts:
    """One class.

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
        """The class as it stands in the JSON report."""
        return {"name": self.name, "id": self.category_id, "objects": self.objects, "images": self.images}


def count_classes(splits: Mapping[str, Split]) -> list[ClassCounts]:
    """Count objects and images of every class, in label order. All splits of a dataset have the same classes."""
    first = next(iter(splits.values()))
    objects, images = {}, {}
    for name, split in splits.items():
        objects[name] = np.bincount(split.trained_on[1], minlength=len(first.names))
        images[name] = images_per_class(split)
    return [
        ClassCounts(
            class_name,
            category_id,
            {name: int(objects[name][label]) for name in splits},
            {name: int(images[name][label]) for name in splits},
        )
        for label, (class_name, category_id) in enumerate(zip(first.names, first.category_ids, strict=True))
    ]


def judge_classes(classes: Sequence[ClassCounts]) -> dict[str, list[str]]:
    """Names of the classes that something is to be said about, by kind of finding."""
    found: dict[str, list[str]] = {
        kind: [] for kind in ("class_unused", "class_untrained", "class_unevaluated", "class_rare", "class_imbalance")
    }
    most = max(entry.objects["train"] for entry in classes)
    for entry in classes:
        trained = entry.objects["train"]
        if not any(entry.objects.values()):
            found["class_unused"].append(entry.name)
        elif not trained:
            found["class_untrained"].append(entry.name)
        else:
            if not entry.objects.get("val", trained):
                found["class_unevaluated"].append(entry.name)
            if trained < RARE:
                found["class_rare"].append(entry.name)
            if trained * IMBALANCE < most:
                found["class_imbalance"].append(entry.name)
    return found
