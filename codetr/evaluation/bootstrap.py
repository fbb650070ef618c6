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
2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from codetr.evaluation.weighted import Weights

LEAST_IMAGES = 5
"""Of fewer images nothing is said: they may scatter hardly at all, which no distribution makes up for."""

_NOTHING = 1e-12
"""Rounding."""


@dataclass(frozen=True)
class Estimate:
    """A measured number.

    Attributes:
        value: of the test set; `None` where there is nothing to measure.
        low: lower end of the interval; `None` if it is of fewer than `LEAST_IMAGES` images, or the same in all drawn
            sets, which tells nothing about other images.
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
    values: NDArray[np.float64], images: int, confidence: float, bounds: tuple[float, float] = (0.0, 1.0)
) -> Estimate:
    """A number with its interval.

    Args:
        values: (1 + sets,) measured on the test set and on drawn sets; NaN where there was nothing to measure.
        images: how many images of the test set the number comes from.
        confidence: of the interval, in (0, 1).
        bounds: what the number can be.
    """
    value = float(values[0])
    scatter = _scatter(values[1:], images)
    if np.isnan(value) or scatter is None:
        return Estimate(None if np.isnan(value) else value, None, None)
    tail = ndtr(stdtrit(images - 1, (1 - confidence) / 2) * math.sqrt(images / (images - 1)))
    low, high = np.quantile(scatter, [tail, 1 - tail])
    return Estimate(value, max(float(value + low), bounds[0]), min(float(value + high), bounds[1]))


def p_value(values: NDArray[np.float64], images: int) -> float | None:
    """How often chance alone makes a difference as large as this; `None` if nobody knows.

    It is one less the highest confidence at which the interval of `estimate` leaves zero out. Where that is beyond what
    so few sets can tell, their standard error stands for them: with a thousand classes, the clear differences among
    them have to be told from the luckiest of the others.

    Args:
        values: (1 + sets,) differences between two models on the test set and on drawn sets.
        images: how many images of the test set the difference comes from.
    """
    difference = float(values[0])
    scatter = _scatter(values[1:], images)
    if np.isnan(difference) or scatter is None:
        return 1.0 if abs(difference) < _NOTHING else None
    tail = min(np.count_nonzero(difference + scatter <= 0), np.count_nonzero(difference + scatter >= 0))
    errors = max(-float(ndtri((1 + tail) / (1 + len(scatter)))), 0.0)
    if not tail:
        errors = max(errors, abs(difference) / float(scatter.std()))
    return 2 * float(stdtr(images - 1, -errors * math.sqrt((images - 1) / images)))


def _scatter(drawn: NDArray[np.float64], images: int) -> NDArray[np.float64] | None:
    """Deviations from the mean; `None` if there are none, or they tell nothing."""
    known = drawn[~np.isnan(drawn)]
    if images < LEAST_IMAGES or not len(known):
        return None
    scatter = known - known.mean()
    return scatter if np.abs(scatter).max() > _NOTHING else None
