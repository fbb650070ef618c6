"""How far metrics would vary with other images of the same kind: the bootstrap over images.

A test set is a sample of the images there might have been. Sets of as many images are drawn from it, with replacement,
and measured; how far their numbers scatter tells how far the number of the test set itself may be from that of all
images (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 and 16). Two models are measured on
the same drawn sets, so that what makes a set hard for both does not count as a difference between them.

A set with repeated images has a slightly higher AP than one without: copies of a detection stand beside each other in
the ranking, and interpolation takes the highest precision. This shift is of no interest and would push a plain
percentile interval off the measured value, so the scatter around the mean of the drawn sets is laid around the value.

Few images scatter too little when they are drawn again, and how much they scatter is itself uncertain: what Student's t
mends for a mean. So the quantiles are taken further out, by as much as an interval of t is wider than a normal one (the
expanded percentile interval: Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69,
2015). AP is a mean over classes, and as many images as a test set may have, its classes may be in few; see `_student`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from codetr.evaluation.weighted import Weights

LEAST_IMAGES = 5
"""Of a class in fewer images nothing is said: they may scatter hardly at all, which no distribution makes up for."""

_NOTHING = 1e-12
"""Rounding."""


@dataclass(frozen=True)
class Estimate:
    """A measured number.

    Attributes:
        value: of the test set; `None` where there is nothing to measure.
        low: lower end of the interval; `None` if it is of too few images (`LEAST_IMAGES` of one class), or the same in
            all drawn sets, which tells nothing about other images.
        high: upper end, likewise.
    """

    value: float | None
    low: float | None
    high: float | None


def draw_sets(images: int, sets: int, seed: int) -> Weights:
    """How often each image occurs in the test set and in sets drawn from it.

    Returns:
        (images, 1 + sets): the first column is the test set itself, in which every image occurs once.
    """
    random = np.random.default_rng(seed)
    weights = np.ones((images, 1 + sets), np.int32)
    for column in range(1, 1 + sets):
        weights[:, column] = np.bincount(random.integers(0, images, images), minlength=images)
    return weights


def estimate(
    values: NDArray[np.float64],
    images: NDArray[np.int64],
    confidence: float,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Estimate:
    """A number with its interval.

    Args:
        values: (1 + sets,) measured on the test set and on drawn sets; NaN where there was nothing to measure.
        images: (classes,) how many images have objects of each of the classes that the number is a mean over.
        confidence: of the interval, in (0, 1).
        bounds: what the number can be.
    """
    value = float(values[0])
    scatter, student = _scatter(values[1:]), _student(images)
    if np.isnan(value) or scatter is None or student is None:
        return Estimate(None if np.isnan(value) else value, None, None)
    tail = ndtr(stdtrit(student.degrees, (1 - confidence) / 2) * student.widening)
    low, high = np.quantile(scatter, [tail, 1 - tail])
    return Estimate(value, max(float(value + low), bounds[0]), min(float(value + high), bounds[1]))


def p_value(values: NDArray[np.float64], images: NDArray[np.int64]) -> float | None:
    """How often chance alone makes a difference as large as this; `None` if nobody knows.

    It is one less the highest confidence at which the interval of `estimate` leaves zero out. Where that is beyond what
    so few sets can tell, their standard error stands for them: with a thousand classes, the clear differences among
    them have to be told from the luckiest of the others.

    Args:
        values: (1 + sets,) differences between two models on the test set and on drawn sets.
        images: see `estimate`.
    """
    difference = float(values[0])
    scatter, student = _scatter(values[1:]), _student(images)
    if np.isnan(difference) or scatter is None or student is None:
        return 1.0 if abs(difference) < _NOTHING else None
    tail = min(np.count_nonzero(difference + scatter <= 0), np.count_nonzero(difference + scatter >= 0))
    errors = max(-float(ndtri((1 + tail) / (1 + len(scatter)))), 0.0)
    if not tail:
        errors = max(errors, abs(difference) / float(scatter.std()))
    return 2 * float(stdtr(student.degrees, -errors / student.widening))


def _scatter(drawn: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Deviations from the mean; `None` if there are none."""
    known = drawn[~np.isnan(drawn)]
    scatter = known - known.mean() if len(known) else known
    return scatter if np.abs(scatter).max(initial=0) > _NOTHING else None


class _Student(NamedTuple):
    degrees: float
    widening: float


def _student(images: NDArray[np.int64]) -> _Student | None:
    """How the scatter of a mean over classes compares with that of other images; `None` if they are too few.

    Drawn again, the mean of n images scatters by (n - 1) / n of its variance, so a mean over classes by that of a class
    weighted with its variance, for which 1 / n is taken. The degrees of freedom are those of Welch and Satterthwaite;
    for one class, n - 1. A class in one image does not scatter in itself, but comes and goes, which drawn sets show.
    """
    several = images[images > 1].astype(np.float64)
    if not len(several):
        return None
    variance = 1 / several
    degrees = float(variance.sum() ** 2 / (variance**2 / (several - 1)).sum())
    if degrees < LEAST_IMAGES - 1 - _NOTHING:
        return None
    return _Student(degrees, math.sqrt(variance.sum() / (variance * (1 - variance)).sum()))
