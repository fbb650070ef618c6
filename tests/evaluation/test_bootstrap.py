"""Intervals: that they hold what they promise, and what they say where there is nothing to say."""

from __future__ import annotations

import numpy as np
import pytest

from codetr.evaluation.bootstrap import Estimate, draw_sets, estimate, p_value

NOTHING = np.full(50, np.nan)


def test_sets_are_as_large_as_the_test_set_and_drawn_from_a_seed() -> None:
    """Sets of another size would scatter more or less than the test set does."""
    drawn = draw_sets(30, 200, seed=1)
    assert drawn.shape == (30, 200)
    assert (drawn.sum(axis=0) == 30).all()
    assert np.array_equal(drawn, draw_sets(30, 200, seed=1))
    assert not np.array_equal(drawn, draw_sets(30, 200, seed=2))
    assert drawn.mean(axis=1) == pytest.approx(np.ones(30), abs=0.3)


def test_intervals_of_a_mean_hold_the_truth_as_often_as_they_say() -> None:
    """Of a mean it is known how far it scatters: an interval of 90 % must miss it in one of ten experiments."""
    random = np.random.default_rng(101)
    held = 0
    for experiment in range(500):
        values = random.normal(0.5, 0.1, 60)
        means = values @ draw_sets(60, 300, seed=experiment) / 60
        interval = estimate(float(values.mean()), means, 0.9)
        assert interval.low is not None
        assert interval.high is not None
        held += interval.low <= 0.5 <= interval.high
    assert 0.85 < held / 500 < 0.93


def test_p_values_of_equal_models_are_spread_evenly() -> None:
    """If small ones were more frequent, equal models would be told apart more often than they should."""
    random = np.random.default_rng(101)
    found = []
    for experiment in range(500):
        values = random.normal(0, 0.1, 60)
        p = p_value(float(values.mean()), values @ draw_sets(60, 300, seed=experiment) / 60)
        assert p is not None
        found.append(p)
    assert np.mean(np.array(found) < 0.1) == pytest.approx(0.1, abs=0.05)
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)


def test_the_shift_of_drawn_sets_does_not_move_the_interval() -> None:
    """AP of sets with repeated images is higher; the interval is about the number that was measured."""
    drawn = np.random.default_rng(0).normal(0, 0.01, 1000)
    plain, shifted = (estimate(0.4, 0.4 + drawn + shift, 0.95) for shift in (0.0, 0.05))
    assert (plain.low, plain.high) == pytest.approx((shifted.low, shifted.high))
    assert plain.low == pytest.approx(0.38, abs=0.003)


def test_a_number_stays_within_its_bounds() -> None:
    drawn = np.random.default_rng(0).normal(0, 0.1, 1000)
    assert estimate(0.02, drawn, 0.95).low == 0
    assert estimate(0.98, drawn, 0.95).high == 1
    assert (estimate(0.02, drawn, 0.95, (-1, 1)).low or 0) < -0.1


def test_p_agrees_with_the_interval_and_goes_beyond_the_number_of_sets() -> None:
    drawn = np.random.default_rng(0).normal(0, 0.01, 1000)
    for difference in (0.0, 0.01, -0.019, 0.021, 0.03):
        interval, p = estimate(difference, difference + drawn, 0.95, (-1, 1)), p_value(difference, difference + drawn)
        assert p is not None
        assert interval.low is not None
        assert interval.high is not None
        assert (p < 0.05) == (interval.low > 0 or interval.high < 0)
    assert p_value(0.06, 0.06 + drawn) == pytest.approx(2e-9, rel=9)


@pytest.mark.parametrize("drawn", [np.full(50, 0.3), np.full(50, 0.3) + 1e-16 * np.arange(50), NOTHING])
def test_what_does_not_scatter_has_no_interval(drawn: np.ndarray) -> None:
    """A class in a single image has one AP in every set: that is no certainty."""
    assert estimate(0.3, drawn, 0.95) == Estimate(0.3, None, None)
    assert p_value(0.3, drawn) is None


def test_nothing_measured_is_nothing_and_equal_is_equal() -> None:
    assert estimate(np.nan, NOTHING, 0.95) == Estimate(None, None, None)
    assert p_value(np.nan, NOTHING) is None
    assert p_value(0.0, np.zeros(50)) == 1.0
