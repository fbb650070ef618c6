"""Fields that LVIS adds to COCO: verified categories of images, frequencies of categories (Gupta et al., 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NEGATIVE, NOT_EXHAUSTIVE = "neg_category_ids", "not_exhaustive_category_ids"
"""Fields of an image in LVIS, see `Verified`."""

FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}
"""Groups of categories in LVIS, by the number of images of its training set: below 10, below 100, more."""


@dataclass(frozen=True)
class Verified:
    """Verified categories of an image in a federated dataset (Gupta et al., "LVIS", 2019, section 2.2).

    Whether any other category without an annotation is in the image is unknown.

    Attributes:
        negative: ids of categories that are verified to be absent.
        not_exhaustive: ids of categories of which not every object is annotated.
    """

    negative: tuple[int, ...]
    not_exhaustive: tuple[int, ...]

    def renumbered(self, changed: Mapping[int, int]) -> Verified:
        """Return a copy with new category ids, by old id; those that are not in `changed` stay."""
        negative, incomplete = (
            tuple(sorted(changed.get(key, key) for key in part)) for part in (self.negative, self.not_exhaustive)
        )
        return Verified(negative, incomplete)


@dataclass(frozen=True)
class Frequency:
    """Frequency of a category in the training set of LVIS; None where the file has none.

    Attributes:
        group: one of `FREQUENCIES`.
        image_count: number of images.
    """

    group: str | None
    image_count: int | None


def listed_categories(value: dict[str, Any], field: str) -> list[Any]:
    """Return a list of LVIS of an image, with entries of any type; a value that is not a list becomes a list of one."""
    listed = value.get(field)
    return listed if isinstance(listed, list) else [] if listed is None else [listed]
