"""Compare two models on one test set: differences that other images would hardly change."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError
from codetr.evaluation.comparison.bootstrap import Estimate, compare_estimates, draw_sets, estimate
from codetr.evaluation.comparison.match_table import MatchTable
from codetr.evaluation.comparison.resampled_metrics import metric_table, resampled_metrics
from codetr.evaluation.metrics.metric_spec import MetricSpec, metric_name

RESAMPLES, CONFIDENCE = 1000, 0.95
"""Number of bootstrap samples and confidence of the intervals, unless something else is asked for."""


def signed(difference: float) -> str:
    """Return the difference of two metrics as text, with four decimals and its sign; zero without one."""
    text = f"{difference:+.4f}"
    return "0.0000" if float(text) == 0 else text


@dataclass(frozen=True)
class ComparedMetric:
    """One metric of both models.

    Attributes:
        name: of the metric, or of the class whose AP it is.
        images: number of images with objects that the metric is about.
        first: of the first model.
        second: of the second.
        difference: the second minus the first.
        p: p-value of the difference; `None` if there is none to measure.
    """

    name: str
    images: int
    first: Estimate
    second: Estimate
    difference: Estimate
    p: float | None


@dataclass(frozen=True)
class EvaluationComparison:
    """Two models compared.

    Attributes:
        names: of the models.
        images: number of images of the test set.
        sets: number of bootstrap samples.
        confidence: of the intervals.
        seed: of the samples.
        summary: the metrics of COCO or LVIS.
        classes: AP of every class.
    """

    names: tuple[str, str]
    images: int
    sets: int
    confidence: float
    seed: int
    summary: list[ComparedMetric]
    classes: list[ComparedMetric]

    @property
    def significant(self) -> list[ComparedMetric]:
        """Classes whose AP differs significantly, largest differences first.

        Of a thousand equal classes fifty have p < 0.05. So the bound is that of Benjamini and Hochberg (1995): of the
        classes listed here, at most the share 1 - confidence is expected to be there by chance.
        """
        known = [row for row in self.classes if row.p is not None]
        known.sort(key=lambda row: row.p or 0.0)
        last = 0
        for rank, row in enumerate(known, start=1):
            if row.p is not None and row.p <= (1 - self.confidence) * rank / len(known):
                last = rank
        return sorted(known[:last], key=lambda row: -abs(row.difference.value or 0.0))

    def most_different(self, count: int) -> list[ComparedMetric]:
        """Return the `count` classes with the largest differences, in the order of the classes."""
        ranked = sorted(range(len(self.classes)), key=lambda k: -abs(self.classes[k].difference.value or 0.0))
        return [self.classes[k] for k in sorted(ranked[:count])]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self)


def compare_evaluations(
    tables: tuple[MatchTable, MatchTable],
    names: tuple[str, str],
    *,
    sets: int,
    confidence: float,
    seed: int,
    progress: bool = False,
) -> EvaluationComparison:
    """Compare two models.

    Args:
        tables: matches of both.
        names: of the models.
        sets: number of bootstrap samples.
        confidence: of the intervals, in (0, 1).
        seed: of the samples.
        progress: print progress.

    Raises:
        UserError: the models were not evaluated on the same ground truth.
    """
    require_equal(*tables, names)
    truth = tables[0]
    weights = draw_sets(len(truth.image_ids), sets, seed)
    first, second = (
        resampled_metrics(table, weights, label=f"bootstrap of {name}, class by class" if progress else None)
        for table, name in zip(tables, names, strict=True)
    )

    def row(
        name: str, one: NDArray[np.float64], other: NDArray[np.float64], pairs: NDArray[np.int64]
    ) -> ComparedMetric:
        images = np.unique(pairs[0], return_counts=True)[1]
        difference, p = compare_estimates(one, other, images, confidence)
        return ComparedMetric(
            name=name,
            images=len(np.unique(pairs[1])),
            first=estimate(one, images, confidence),
            second=estimate(other, images, confidence),
            difference=difference,
            p=p,
        )

    specs = metric_table(truth)
    pairs = _class_image_pairs(truth, specs[metric_name(specs, "AP")])
    begins = np.searchsorted(pairs[0], np.arange(len(truth.names) + 1))
    return EvaluationComparison(
        names=names,
        images=len(truth.image_ids),
        sets=sets,
        confidence=confidence,
        seed=seed,
        summary=[
            row(name, first.summary[name], second.summary[name], _class_image_pairs(truth, spec))
            for name, spec in specs.items()
        ],
        classes=[
            row(name, one, other, pairs[:, slice(*begin)])
            for name, one, other, begin in zip(
                truth.names, first.classes, second.classes, pairwise(begins.tolist()), strict=True
            )
        ],
    )


def _class_image_pairs(truth: MatchTable, spec: MetricSpec) -> NDArray[np.int64]:
    """Return class and image of the objects that a metric is about, (2, pairs), each pair once, by class."""
    objects = truth.gt_counts[spec.area_range].copy()
    if spec.group is not None:
        objects &= np.array([group == spec.group for group in truth.frequency], bool)[truth.gt_label]
    return np.unique(np.stack([truth.gt_label[objects], truth.gt_image[objects]]), axis=1)


def require_equal(first: MatchTable, second: MatchTable, names: tuple[str, str]) -> None:
    """Raise `UserError` unless both models were evaluated on the same ground truth."""
    for what, field in (
        ("metrics (COCO's or LVIS's)", "federated"),
        ("images", "image_ids"),
        ("classes", "category_ids"),
        ("names of classes", "names"),
        ("frequencies of classes", "frequency"),
        ("objects", "gt_image"),
        ("objects", "gt_label"),
        ("ignored objects", "gt_counts"),
    ):
        one, other = getattr(first, field), getattr(second, field)
        if not (np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other):
            hint = "Evaluate both models on the same images and annotations."
            raise UserError(f"the evaluations have different {what}", where=" and ".join(names), hint=hint)
