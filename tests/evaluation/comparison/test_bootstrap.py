"""Confidence intervals: their coverage, and cases without an interval."""

from __future__ import annotations

import numpy as np
import pytest

from codetr.evaluation.comparison.bootstrap import MIN_IMAGES, Estimate, compare_estimates, draw_sets, estimate

NOTHING = np.full(51, np.nan)
MANY = np.array([5000])


def with_samples(value: float, drawn: np.ndarray) -> np.ndarray:
    """Return the value of the test set, followed by those of the samples."""
    return np.concatenate([[value], drawn])


def compared(values: np.ndarray, images: np.ndarray, confidence: float = 0.95) -> tuple[Estimate, float | None]:
    """Compare a model with another that is better by `values`."""
    return compare_estimates(np.zeros_like(values), values, images, confidence)


def test_sets_are_as_large_as_the_test_set_and_drawn_from_a_seed() -> None:
    """Sets of another size would scatter more or less than the test set does."""
    sets = draw_sets(30, 200, seed=1)
    assert sets.shape == (30, 201)
    assert (sets[:, 0] == 1).all(), "the test set itself comes first"
    assert (sets.sum(axis=0) == 30).all()
    assert np.array_equal(sets, draw_sets(30, 200, seed=1))
    assert not np.array_equal(sets, draw_sets(30, 200, seed=2))
    assert sets[:, 1:].mean(axis=1) == pytest.approx(np.ones(30), abs=0.3)


@pytest.mark.parametrize(
    ("images", "sets", "confidence"),
    [(MIN_IMAGES, 300, 0.9), (MIN_IMAGES, 300, 0.99), (10, 300, 0.9), (60, 300, 0.9), (60, 10, 0.9)],
)
def test_intervals_of_a_mean_hold_the_truth_as_often_as_they_say(images: int, sets: int, confidence: float) -> None:
    """The spread of a mean is known: an interval of 90 % must miss it in one of ten experiments.

    Plain percentiles miss it in more than two of ten where there are five images, and can reach no further than the
    farthest of the sets.
    """
    random = np.random.default_rng(101)
    held = 0
    for experiment in range(500):
        values = random.normal(0.5, 0.03, images)
        interval = estimate(values @ draw_sets(images, sets, seed=experiment) / images, np.array([images]), confidence)
        assert interval.low is not None
        assert interval.high is not None
        held += interval.low <= 0.5 <= interval.high
    missed, expected = 1 - held / 500, 1 - confidence
    assert expected / 3 < missed < expected + 0.035


@pytest.mark.parametrize(
    "images", [[3] * 20, [2] * 5 + [20] * 5, [40, 400], [1] * 30 + [20] * 5], ids=["few", "some few", "many", "one"]
)
def test_intervals_of_a_mean_over_classes_hold_the_truth(images: list[int]) -> None:
    """Many images of few for each class: each class scatters too little when its images are drawn again.

    Without widening they miss the truth in more than one of six experiments where some classes are in one or two.
    """
    random, counts = np.random.default_rng(101), np.array(images)
    label = np.repeat(np.arange(len(counts)), counts)
    held = 0
    for experiment in range(400):
        values, weights = random.normal(0.5, 0.03, len(label)), draw_sets(len(label), 200, seed=experiment)
        sums, times = (np.zeros((len(counts), 201)) for _ in range(2))
        np.add.at(sums, label, values[:, None] * weights)
        np.add.at(times, label, weights)
        with np.errstate(invalid="ignore"):
            interval = estimate(np.nanmean(sums / times, axis=0), counts, 0.9)
        assert interval.low is not None
        assert interval.high is not None
        held += interval.low <= 0.5 <= interval.high
    assert 0.86 < held / 400 < 0.975


def test_one_rare_class_does_not_remove_the_interval_of_the_mean() -> None:
    """One image of a new class must not remove the interval of the mean over all."""
    values = with_samples(0.4, np.random.default_rng(0).normal(0.4, 0.01, 200))
    widths = []
    for rare in ([], [1], [2], [3], [4], [5]):
        interval = estimate(values, np.array([50] * 20 + rare), 0.95)
        assert interval.low is not None
        widths.append(0.4 - interval.low)
    assert max(widths) < 2.5 * widths[0]


@pytest.mark.parametrize("images", [MIN_IMAGES, 10, 60])
def test_p_values_of_equal_models_are_spread_evenly(images: int) -> None:
    """If small ones were more frequent, equal models would differ significantly too often."""
    random = np.random.default_rng(101)
    found = []
    for experiment in range(500):
        values = random.normal(0, 0.1, images)
        _, p = compared(values @ draw_sets(images, 300, seed=experiment) / images, np.array([images]))
        assert p is not None
        found.append(p)
    assert np.mean(np.array(found) < 0.1) == pytest.approx(0.1, abs=0.04)
    assert np.mean(np.array(found) < 0.01) < 0.025
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("differing", [1, 2, 3, 12])
def test_models_that_differ_in_few_images_do_not_differ_significantly_by_chance(differing: int) -> None:
    """Half of the samples have none of those images: with percentiles, the seed would decide on significance."""
    values = np.zeros(500)
    values[:differing] = 1
    for seed in range(4):
        interval, p = compared(values @ draw_sets(500, 1000, seed) / 500, np.array([500]))
        if differing < MIN_IMAGES:
            assert (interval.low, p) == (None, None)
        else:
            assert p is not None
            assert p < 0.01
            assert (interval.low or 0) > 0


def test_sparse_differences_of_equal_models_are_no_differences() -> None:
    random = np.random.default_rng(3)
    called = 0
    for experiment in range(200):
        values = random.choice([-1, 0, 1], 100, p=[0.05, 0.9, 0.05]) * random.uniform(0.2, 1, 100)
        _, p = compared(values @ draw_sets(100, 300, experiment) / 100, np.array([100]))
        called += p is not None and p < 0.05
    assert called < 0.09 * 200


def test_the_shift_of_drawn_sets_does_not_move_the_interval() -> None:
    """AP of sets with repeated images is higher; the interval is about the number that was measured."""
    drawn = np.random.default_rng(0).normal(0, 0.01, 1000)
    plain, shifted = (estimate(with_samples(0.4, 0.4 + drawn + shift), MANY, 0.95) for shift in (0.0, 0.05))
    assert (plain.low, plain.high) == pytest.approx((shifted.low, shifted.high))
    assert plain.low == pytest.approx(0.38, abs=0.003)


def test_a_number_stays_within_its_bounds() -> None:
    drawn = np.random.default_rng(0).normal(0, 0.1, 1000)
    assert estimate(with_samples(0.02, drawn), MANY, 0.95).low == 0
    assert estimate(with_samples(0.98, drawn), MANY, 0.95).high == 1
    assert (compared(with_samples(0.02, drawn), MANY)[0].low or 0) < -0.1
    assert compared(with_samples(-0.98, drawn), MANY)[0].low == -1


@pytest.mark.parametrize("images", [10, 5000])
@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_p_agrees_with_the_interval_and_goes_beyond_the_number_of_sets(images: int, confidence: float) -> None:
    drawn, counts = np.random.default_rng(0).normal(0, 0.01, 1000), np.array([images])
    for difference in (0.0, 0.01, -0.016, 0.018, -0.025, 0.03, -0.036):
        interval, p = compared(with_samples(difference, difference + drawn), counts, confidence)
        assert p is not None
        assert interval.low is not None
        assert interval.high is not None
        assert (p < 1 - confidence) == (interval.low > 0 or interval.high < 0)
    beyond = {10: 3e-4, 5000: 2e-9}
    assert compared(with_samples(0.06, 0.06 + drawn), counts)[1] == pytest.approx(beyond[images], rel=2)


@pytest.mark.parametrize(
    ("drawn", "images"),
    [
        (np.full(50, 0.3), [5000]),
        (np.full(50, 0.3) + 1e-16 * np.arange(50), [5000]),
        (NOTHING, [5000]),
        (np.linspace(0.2, 0.4, 50), [MIN_IMAGES - 1]),
        (np.linspace(0.2, 0.4, 50), [2, 2]),
        (np.linspace(0.2, 0.4, 1), [5000]),
        (NOTHING, []),
    ],
    ids=["equal", "rounding", "nothing", "few", "few of each", "one set", "no class"],
)
def test_uninformative_samples_give_no_interval(drawn: np.ndarray, images: list[int]) -> None:
    """A class in a single image has one AP in every sample, which is not certainty."""
    values, counts = with_samples(0.3, drawn), np.array(images, np.int64)
    assert estimate(values, counts, 0.95) == Estimate(0.3, None, None)
    assert compared(values, counts) == (Estimate(0.3, None, None), None)


def test_missing_and_equal_values() -> None:
    """A p of 1 where nothing is known would count as one more compared class."""
    assert estimate(NOTHING, MANY, 0.95) == Estimate(None, None, None)
    assert compared(NOTHING, MANY) == (Estimate(None, None, None), None)
    assert compared(np.zeros(50), MANY) == (Estimate(0.0, None, None), 1.0)
    assert compared(np.zeros(50), np.array([MIN_IMAGES - 1])) == (Estimate(0.0, None, None), None)
