"""How far metrics would vary with other images of the same kind: the bootstrap over images.

A test set is a sample of the images there might have been. Sets of as many images are drawn from it, with replacement,
and measured; how far their numbers scatter tells how far the number of the test set itself may be from that of all
images (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 and 16). Two models are measured on
the same drawn sets, so that what makes a set hard for both does not count as a difference between them.

A set with repeated images has a slightly higher AP than one without: copies of a detection stand beside each other in
the ranking, and interpolation takes the highest precision. This shift is of no interest and would push a plain
percentile interval off the measured value, so the scatter around the mean of the drawn sets is laid around the value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.weighted import Weights

_NOTHING = 1e-12
"""Rounding."""


@dataclass(frozen=True)
class Estimate:
    """A measured number.

    Attributes:
        value: of the test set; `None` where there is nothing to measure.
        low: lower end of the interval; `None` if it is the same in all drawn sets, as the AP of a class that is in one
            image only: that tells nothing about other images.
        high: upper end, likewise.
    """

    value: float | None
    low: float | None
    high: float | None


def draw_sets(images: int, sets: int, seed: int) -> Weights:
    """(images, sets) how often each image occurs in each of many sets of `images` images."""
    random = np.random.default_rng(seed)
    drawn = np.empty((images, sets), np.int32)
    for column in range(sets):
        drawn[:, column] = np.bincount(random.integers(0, images, images), minlength=images)
    return drawn


def estimate(
    value: float, drawn: NDArray[np.float64], confidence: float, bounds: tuple[float, float] = (0.0, 1.0)
) -> Estimate:
    """A number with its interval.

    Args:
        value: measured on the test set, NaN if there was nothing to measure.
        drawn: (sets,) measured on drawn sets, NaN where there was nothing.
        confidence: share of the drawn numbers within the interval, in (0, 1).
        bounds: what the number can be.
    """
    scatter = _scatter(drawn)
    if np.isnan(value) or scatter is None:
        return Estimate(None if np.isnan(value) else value, None, None)
    low, high = np.quantile(scatter, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, max(float(value + low), bounds[0]), min(float(value + high), bounds[1]))


def p_value(difference: float, drawn: NDArray[np.float64]) -> float | None:
    """How often chance alone makes a difference as large as this; `None` if nobody knows.

    It is one less the highest confidence at which the interval of `estimate` leaves zero out. Where that is beyond what
    so few sets can tell, it is that of a normal distribution with their standard error: with a thousand classes, the
    clear differences among them have to be told from the luckiest of the others.

    Args:
        difference: between two models on the test set.
        drawn: (sets,) their differences on drawn sets.
    """
    scatter = _scatter(drawn)
    if np.isnan(difference) or scatter is None:
        return 1.0 if abs(difference) < _NOTHING else None
    tail = min(np.count_nonzero(difference + scatter <= 0), np.count_nonzero(difference + scatter >= 0))
    share = min(1.0, 2 * (1 + tail) / (1 + len(scatter)))
    return share if tail else min(share, math.erfc(abs(difference) / float(scatter.std()) / math.sqrt(2)))


def _scatter(drawn: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Deviations from the mean; `None` if there are none."""
    known = drawn[~np.isnan(drawn)]
    scatter = known - known.mean() if len(known) else known
    return scatter if np.abs(scatter).max(initial=0) > _NOTHING else None
