"""Two models on one test set: what differs by more than other images would make of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError
from codetr.data.lvis import FREQUENCIES
from codetr.evaluation.comparison.bootstrap import Estimate, compare_estimates, draw_sets, estimate
from codetr.evaluation.comparison.match_table import Outcomes
from codetr.evaluation.comparison.resampled_metrics import weighted_values
from codetr.evaluation.metrics.summary import ALL_AREAS, SIZES


@dataclass(frozen=True)
class Row:
    """One number of both models.

    Attributes:
        name: of the number, or of the class whose AP it is.
        images: images with objects that the number is about.
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
        classes listed here, at most the share 1 - confidence is expected to be there by chance.
        """
        known = [row for row in self.classes if row.p is not None]
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
    progress: bool = False,
) -> Comparison:
    """Compare two models.

    Args:
        outcomes: who found whom, of both.
        names: of the models.
        sets: how many sets to draw.
        confidence: of the intervals, in (0, 1).
        seed: of the draws.
        progress: print progress.

    Raises:
        UserError: they were not measured against the same ground truth.
    """
    require_equal(*outcomes, names)
    truth = outcomes[0]
    weights = draw_sets(len(truth.image_ids), sets, seed)
    first, second = (
        weighted_values(own, weights, label=f"measure {name} on drawn sets, class by class" if progress else None)
        for own, name in zip(outcomes, names, strict=True)
    )

    def row(name: str, one: NDArray[np.float64], other: NDArray[np.float64], places: NDArray[np.int64]) -> Row:
        images = np.unique(places[0], return_counts=True)[1]
        difference, p = compare_estimates(one, other, images, confidence)
        return Row(
            name=name,
            images=len(np.unique(places[1])),
            first=estimate(one, images, confidence),
            second=estimate(other, images, confidence),
            difference=difference,
            p=p,
        )

    of_all = _places(truth, "AP")
    begins = np.searchsorted(of_all[0], np.arange(len(truth.names) + 1))
    return Comparison(
        names=names,
        images=len(truth.image_ids),
        sets=sets,
        confidence=confidence,
        seed=seed,
        summary=[row(k, first.summary[k], second.summary[k], _places(truth, k)) for k in first.summary],
        classes=[
            row(name, one, other, of_all[:, slice(*begin)])
            for name, one, other, begin in zip(
                truth.names, first.classes, second.classes, pairwise(begins.tolist()), strict=True
            )
        ],
    )


def _places(truth: Outcomes, name: str) -> NDArray[np.int64]:
    """Where the objects are that a number of the summary is about: those of a size, or of classes of a frequency.

    Returns:
        (2, pairs): class and image, each pair once, by class.
    """
    group = name.partition("@")[0][2:]
    objects = truth.sought[SIZES.get(group, ALL_AREAS)].copy()
    if group in FREQUENCIES:
        objects &= np.array([own == group for own in truth.frequency], bool)[truth.object_label]
    return np.unique(np.stack([truth.object_label[objects], truth.object_image[objects]]), axis=1)


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
