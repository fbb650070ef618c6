"""How far metrics would vary with other images of the same kind: the bootstrap over images.

A test set is a sample of the images there might have been. Sets of as many images are drawn from it, with replacement,
and measured; how far their numbers scatter tells how far the number of the test set itself may be from that of all
images (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 6 and 16). Two models are measured on
the same drawn sets, so that what makes a set hard for both does not count as a difference between them.

Intervals are those of Student's t with the bootstrap's standard error, widened where images are few, as Hesterberg does
("What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015). Percentiles of the drawn numbers
would be simpler, but AP makes them fail in three ways: a set with repeated images has a slightly higher AP than one
without, as copies of a detection stand beside each other in the ranking; few images scatter too little; and where two
models differ in few images, many drawn sets have no difference at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from codetr.evaluation.comparison.resampled_metrics import Weights

LEAST_IMAGES = 5
"""Of fewer images nothing is said: they may scatter hardly at all, which no distribution makes up for."""

_NOTHING = 1e-12
"""Rounding."""


@dataclass(frozen=True)
class Estimate:
    """A measured number.

    Attributes:
        value: of the test set; `None` where there is nothing to measure.
        low: lower end of the interval; `None` if it is of fewer than `LEAST_IMAGES` images (the difference of two
            models: if they differ in fewer), or the same in all drawn sets, which tells nothing about other images.
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


def estimate(values: NDArray[np.float64], images: NDArray[np.int64], confidence: float) -> Estimate:
    """A metric with its interval.

    Args:
        values: (1 + sets,) of the test set and of drawn sets; NaN where there was nothing to measure.
        images: (classes,) how many images have objects of each of the classes that the metric is a mean over.
        confidence: of the interval, in (0, 1).
    """
    return _interval(float(values[0]), _spread(values[1:], images), confidence, (0.0, 1.0))


def compare_estimates(
    first: NDArray[np.float64], second: NDArray[np.float64], images: NDArray[np.int64], confidence: float
) -> tuple[Estimate, float | None]:
    """How much a metric of two models differs, and how often chance alone makes a difference as large.

    Args:
        first: (1 + sets,) of the first model, see `estimate`.
        second: (1 + sets,) of the second, on the same sets.
        images: see `estimate`.
        confidence: of the interval, in (0, 1).

    Returns:
        The second less the first; and p, one less the highest confidence at which the interval leaves zero out, or
        `None` if nobody knows.
    """
    value, drawn = float(second[0] - first[0]), second[1:] - first[1:]
    spread, p = _spread(drawn, images), None
    if spread and spread.error < _NOTHING:
        p = 1.0 if abs(value) < _NOTHING else None
    elif spread:
        # A set has none of m images with the probability exp(-m): so many are those in which the models differ.
        without = np.count_nonzero(np.abs(drawn) < _NOTHING) / np.count_nonzero(~np.isnan(drawn))
        differing = -math.log(without) if without else math.inf
        spread = None if differing < LEAST_IMAGES else _Spread(spread.error, min(spread.degrees, differing - 1))
        p = 2 * float(stdtr(spread.degrees, -abs(value) / spread.error)) if spread else None
    return _interval(value, spread, confidence, (-1.0, 1.0)), None if np.isnan(value) else p


@dataclass(frozen=True)
class _Spread:
    """How far a number may be off: its standard error, and degrees of freedom, how well that is known."""

    error: float
    degrees: float


def _spread(drawn: NDArray[np.float64], images: NDArray[np.int64]) -> _Spread | None:
    """From drawn sets; `None` if images or sets are too few.

    Drawn again, the mean of n images scatters by (n - 1) / n of its variance, so a mean over classes by that of a class
    weighted with its variance, for which 1 / n is taken. The degrees of freedom are those of Welch and Satterthwaite;
    for one class, n - 1. How much a class in a single image scatters cannot be known; it is taken for one in two. Some
    classes of many are in few images, which must not make all of their mean unknown: it has those of `LEAST_IMAGES`.
    """
    known = drawn[~np.isnan(drawn)]
    if images.sum() < LEAST_IMAGES or len(known) < 2:
        return None
    counts = np.maximum(images, 2).astype(np.float64)
    variance = 1 / counts
    widening = math.sqrt(variance.sum() / (variance * (1 - variance)).sum())
    degrees = max(float(variance.sum() ** 2 / (variance**2 / (counts - 1)).sum()), LEAST_IMAGES - 1)
    return _Spread(widening * float(known.std(ddof=1)), min(degrees, len(known) - 1))


def _interval(value: float, spread: _Spread | None, confidence: float, bounds: tuple[float, float]) -> Estimate:
    """About a measured value, within what it can be."""
    if np.isnan(value):
        return Estimate(None, None, None)
    if spread is None or spread.error < _NOTHING:
        return Estimate(value, None, None)
    reach = spread.error * float(stdtrit(spread.degrees, (1 + confidence) / 2))
    return Estimate(value, max(value - reach, bounds[0]), min(value + reach, bounds[1]))
