"""Confidence intervals of metrics: the bootstrap over images.

A test set is a sample of a population of images. Samples of as many images are drawn from it, with replacement, and
measured; the spread of their metrics estimates how far the metric of the test set may be from that of the population
(Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 6 and 16). Two models are measured on the
same samples (paired bootstrap), so that a sample that is hard for both does not count as a difference between them.

Intervals are those of Student's t with the bootstrap's standard error, widened where images are few, as Hesterberg does
("What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015). Percentiles of the samples
would be simpler, but fail for AP in three ways: a sample with repeated images has a slightly higher AP than one
without, as copies of a detection are adjacent in the ranking; few images have too little spread; and where two models
differ in few images, many samples have no difference at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from codetr.evaluation.comparison.resampled_metrics import Weights

MIN_IMAGES = 5
"""No interval below this many images: their spread may be far too small, which no distribution corrects."""

_ZERO = 1e-12
"""Differences below it are rounding."""


@dataclass(frozen=True)
class Estimate:
    """A metric with its confidence interval.

    Attributes:
        value: of the test set; `None` where there is nothing to measure.
        low: lower end of the interval; `None` if it is of fewer than `MIN_IMAGES` images (the difference of two
            models: if they differ in fewer), or the same in all samples, which says nothing about other images.
        high: upper end; `None` where `low` is.
    """

    value: float | None
    low: float | None
    high: float | None


def draw_sets(images: int, sets: int, seed: int) -> Weights:
    """Draw bootstrap samples: how often each image occurs in the test set and in each sample.

    Returns:
        (images, 1 + sets): the first column is the test set itself, in which every image occurs once.
    """
    random = np.random.default_rng(seed)
    weights = np.ones((images, 1 + sets), np.int32)
    for column in range(1, 1 + sets):
        weights[:, column] = np.bincount(random.integers(0, images, images), minlength=images)
    return weights


def estimate(values: NDArray[np.float64], images: NDArray[np.int64], confidence: float) -> Estimate:
    """Return a metric with its interval.

    Args:
        values: (1 + sets,) of the test set and of the samples; NaN where there was nothing to measure.
        images: (classes,) number of images with objects of each of the classes that the metric is a mean over.
        confidence: of the interval, in (0, 1).
    """
    return _interval(float(values[0]), _spread(values[1:], images), confidence, (0.0, 1.0))


def compare_estimates(
    first: NDArray[np.float64], second: NDArray[np.float64], images: NDArray[np.int64], confidence: float
) -> tuple[Estimate, float | None]:
    """Return the difference of a metric of two models, with its interval and p-value.

    Args:
        first: (1 + sets,) of the first model, see `estimate`.
        second: (1 + sets,) of the second, on the same samples.
        images: see `estimate`.
        confidence: of the interval, in (0, 1).

    Returns:
        The second minus the first; and p, one minus the highest confidence at which the interval excludes zero, or
        `None` if it is not known.
    """
    value, samples = float(second[0] - first[0]), second[1:] - first[1:]
    spread, p = _spread(samples, images), None
    if spread and spread.error < _ZERO:
        p = 1.0 if abs(value) < _ZERO else None
    elif spread:
        # A sample has none of m images with the probability exp(-m), which gives the number of differing images.
        without = np.count_nonzero(np.abs(samples) < _ZERO) / np.count_nonzero(~np.isnan(samples))
        differing = -math.log(without) if without else math.inf
        spread = None if differing < MIN_IMAGES else _Spread(spread.error, min(spread.degrees, differing - 1))
        p = 2 * float(stdtr(spread.degrees, -abs(value) / spread.error)) if spread else None
    return _interval(value, spread, confidence, (-1.0, 1.0)), None if np.isnan(value) else p


@dataclass(frozen=True)
class _Spread:
    """The standard error of a metric, and the degrees of freedom of that estimate."""

    error: float
    degrees: float


def _spread(samples: NDArray[np.float64], images: NDArray[np.int64]) -> _Spread | None:
    """Estimate the spread from samples; `None` if images or samples are too few.

    Resampling the mean of n images reduces its variance to (n - 1) / n, and a mean over classes accordingly, each class
    weighted with its variance, for which 1 / n is used. The degrees of freedom are those of Welch and Satterthwaite;
    for one class, n - 1. The spread of a class in a single image cannot be known; it is treated as one in two images.
    A few rare classes among many must not leave their mean without an interval: it has the degrees of freedom of
    `MIN_IMAGES` at least.
    """
    known = samples[~np.isnan(samples)]
    if images.sum() < MIN_IMAGES or len(known) < 2:
        return None
    counts = np.maximum(images, 2).astype(np.float64)
    variance = 1 / counts
    widening = math.sqrt(variance.sum() / (variance * (1 - variance)).sum())
    degrees = max(float(variance.sum() ** 2 / (variance**2 / (counts - 1)).sum()), MIN_IMAGES - 1)
    return _Spread(widening * float(known.std(ddof=1)), min(degrees, len(known) - 1))


def _interval(value: float, spread: _Spread | None, confidence: float, bounds: tuple[float, float]) -> Estimate:
    """Return the interval of a value, clipped to what it can be."""
    if np.isnan(value):
        return Estimate(None, None, None)
    if spread is None or spread.error < _ZERO:
        return Estimate(value, None, None)
    half_width = spread.error * float(stdtrit(spread.degrees, (1 + confidence) / 2))
    return Estimate(value, max(value - half_width, bounds[0]), min(value + half_width, bounds[1]))
