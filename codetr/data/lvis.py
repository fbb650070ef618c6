"""What LVIS adds to COCO: verified absent classes, incomplete annotation, class frequencies (Gupta et al., 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NEGATIVE, NOT_EXHAUSTIVE = "neg_category_ids", "not_exhaustive_category_ids"
"""LVIS's lists of an image: see `Verified`."""

FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}
"""LVIS's groups of categories: in fewer than 10 images of its training set, in fewer than 100, in more."""


@dataclass(frozen=True)
class Verified:
    """What is known about the classes of an image in a federated dataset (Gupta et al., "LVIS", 2019, section 2.2).

    Of all other classes that have no object in the image nobody looked whether they are there.

    Attributes:
        negative: categories that were looked for and are not there.
        not_exhaustive: categories of which not every object is annotated.
    """

    negative: tuple[int, ...]
    not_exhaustive: tuple[int, ...]

    def renumbered(self, changed: Mapping[int, int]) -> Verified:
        """The same with other category ids, by old id; those that are not in `changed` stay."""
        negative, incomplete = (
            tuple(sorted(changed.get(key, key) for key in part)) for part in (self.negative, self.not_exhaustive)
        )
        return Verified(negative, incomplete)


@dataclass(frozen=True)
class Frequency:
    """How common a category is in LVIS's training set; None where the file does not say.

    Attributes:
        group: one of `FREQUENCIES`.
        image_count: number of images.
    """

    group: str | None
    image_count: int | None


def listed_categories(value: dict[str, Any], field: str) -> list[Any]:
    """One of LVIS's lists of an image, with entries of any type; anything but a list counts as a list of it."""
    listed = value.get(field)
    return listed if isinstance(listed, list) else [] if listed is None else [listed]
