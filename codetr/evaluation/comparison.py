"""Two models on one test set: what differs by more than other images would make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.errors import UserError
from codetr.evaluation.bootstrap import Estimate, draw_sets, estimate, p_value
from codetr.evaluation.metrics import ALL_AREAS
from codetr.evaluation.outcomes import Outcomes
from codetr.evaluation.weighted import Values, weighted_values

LEAST_IMAGES = 10
"""Classes in fewer images are not called different."""


@dataclass(frozen=True)
class Row:
    """One number of both models.

    Attributes:
        name: of the number, or of the class whose AP it is.
        images: images with objects to be found, of the class or of any.
        first: of the first model.
        second: of the second.
        difference: the second less the first.
        p: how often chance alone makes a difference as large; `None` if there is none to measure.
    """

    name: str
    images: int
    first: Estimate
    second: Estimate
    difference: Estimate
    p: float | None


@dataclass(frozen=True)
class Comparison:
    """Two models compared.

    Attributes:
        names: of the models.
        images: of the test set.
        sets: how many were drawn.
        confidence: of the intervals.
        seed: of the draws.
        summary: COCO's or LVIS's numbers.
        classes: AP of every class.
    """

    names: tuple[str, str]
    images: int
    sets: int
    confidence: float
    seed: int
    summary: list[Row]
    classes: list[Row]

    @property
    def clear(self) -> list[Row]:
        """Classes that differ although there are many of them, largest differences first.

        Of a thousand equal classes fifty have p < 0.05. So the bound is that of Benjamini and Hochberg (1995): of the
        classes listed here, at most the share 1 - confidence is expected to be there by chance. Of classes with fewer
        than `LEAST_IMAGES` images nothing is said: so few hardly scatter when they are drawn again.
        """
        known = [row for row in self.classes if row.p is not None and row.images >= LEAST_IMAGES]
        known.sort(key=lambda row: row.p or 0.0)
        last = 0
        for place, row in enumerate(known, start=1):
            if row.p is not None and row.p <= (1 - self.confidence) * place / len(known):
                last = place
        return sorted(known[:last], key=lambda row: -abs(row.difference.value or 0.0))

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return asdict(self)


def compare(
    outcomes: tuple[Outcomes, Outcomes],
    names: tuple[str, str],
    *,
    sets: int,
    confidence: float,
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Comparison:
    """Compare two models.

    Args:
        outcomes: who found whom, of both.
        names: of the models.
        sets: how many sets to draw.
        confidence: of the intervals, in (0, 1).
        seed: of the draws.
        progress: called with the share of the work that is done.

    Raises:
        UserError: they were not measured against the same ground truth.
    """
    require_equal(*outcomes, names)
    images = len(outcomes[0].image_ids)
    weights = np.concatenate([np.ones((images, 1), np.int32), draw_sets(images, sets, seed)], axis=1)
    first, second = (
        weighted_values(own, weights, lambda share, done=k: progress((done + share) / 2))  # type: ignore[misc]
        for k, own in enumerate(outcomes)
    )

    def row(name: str, of: Callable[[Values], NDArray[np.float64]], images: int) -> Row:
        one, other = of(first), of(second)
        of_one, of_other = (estimate(float(v[0]), v[1:], confidence) for v in (one, other))
        change, drawn = float(other[0] - one[0]), other[1:] - one[1:]
        return Row(
            name, images, of_one, of_other, estimate(change, drawn, confidence, (-1.0, 1.0)), p_value(change, drawn)
        )

    sought = outcomes[0].sought[ALL_AREAS]
    places = np.stack([outcomes[0].object_label[sought], outcomes[0].object_image[sought]])
    with_objects = np.bincount(np.unique(places, axis=1)[0], minlength=len(outcomes[0].names)).tolist()
    any_object = len(np.unique(places[1]))
    return Comparison(
        names=names,
        images=images,
        sets=sets,
        confidence=confidence,
        seed=seed,
        summary=[row(name, lambda values, name=name: values.summary[name], any_object) for name in first.summary],  # type: ignore[misc]
        classes=[
            row(name, lambda values, k=k: values.classes[k], with_objects[k])  # type: ignore[misc]
            for k, name in enumerate(outcomes[0].names)
        ],
    )


def require_equal(first: Outcomes, second: Outcomes, names: tuple[str, str]) -> None:
    """Raise `UserError` unless both were measured against the same ground truth."""
    for what, field in (
        ("metrics (COCO's or LVIS's)", "federated"),
        ("images", "image_ids"),
        ("classes", "category_ids"),
        ("names of classes", "names"),
        ("frequencies of classes", "frequency"),
        ("objects", "object_image"),
        ("objects", "object_label"),
        ("objects to be found", "sought"),
    ):
        one, other = getattr(first, field), getattr(second, field)
        if not (np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other):
            hint = "Only models that were measured on the same images and annotations can be compared."
            raise UserError(f"they were measured on different {what}", where=" and ".join(names), hint=hint)
