"""Record the images that cannot be read in training, per process and for the whole run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

EXAMPLES = 20
"""Maximum number of images listed in a summary."""


@dataclass(frozen=True)
class BadImage:
    """An unreadable image that was replaced by another one.

    Attributes:
        index: of the image in its split.
        name: its file, as in the dataset.
        reason: why it cannot be read.
    """

    index: int
    name: str
    reason: str

    def __str__(self) -> str:
        return f"'{self.name}' {self.reason}"


class BadImages:
    """The unreadable images of a run, on all processes; part of its checkpoints."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """Continue from the result of `state`, or start empty."""
        values = state or {"replaced": 0, "images": {}}
        self.replaced: int = values["replaced"]
        self._images: dict[int, str] = dict(values["images"])

    def __len__(self) -> int:
        """Return the number of different images."""
        return len(self._images)

    def add(self, found: Iterable[BadImage]) -> list[str]:
        """Count unreadable images, and return the descriptions of new ones."""
        new = []
        for image in found:
            self.replaced += 1
            if image.index not in self._images:
                self._images[image.index] = str(image)
                new.append(str(image))
        return new

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {"replaced": self.replaced, "images": dict(self._images)}

    def to_json(self) -> dict[str, Any]:
        """Return the number of images and replacements, and examples in the order of the split."""
        examples = [self._images[index] for index in sorted(self._images)[:EXAMPLES]]
        return {"images": len(self), "replaced": self.replaced, "examples": examples}
