"""Images that cannot be read while training: what is known of them, on one process and over a whole run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

EXAMPLES = 20
"""How many of them are named where all are counted."""


@dataclass(frozen=True)
class BadImage:
    """An image that another one was taken for.

    Attributes:
        index: of the image in its split.
        name: its file, as the dataset names it.
        reason: what is wrong with it.
    """

    index: int
    name: str
    reason: str

    def __str__(self) -> str:
        return f"'{self.name}' {self.reason}"


class BadImages:
    """All of a run, on every process; part of its checkpoints."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """Args: what `state` gave, to go on from there."""
        values = state or {"replaced": 0, "images": {}}
        self.replaced: int = values["replaced"]
        self._images: dict[int, str] = dict(values["images"])

    def __len__(self) -> int:
        """How many images, each once."""
        return len(self._images)

    def add(self, found: Iterable[BadImage]) -> list[str]:
        """Count what was found, and describe those that had not been found before."""
        new = []
        for image in found:
            self.replaced += 1
            if image.index not in self._images:
                self._images[image.index] = str(image)
                new.append(str(image))
        return new

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"replaced": self.replaced, "images": dict(self._images)}

    def to_json(self) -> dict[str, Any]:
        """How many images, how often others were taken for them, and the first ones in the order of the split."""
        examples = [self._images[index] for index in sorted(self._images)[:EXAMPLES]]
        return {"images": len(self), "replaced": self.replaced, "examples": examples}
