"""Statistics of losses: means between rows, and losses that stay zero."""

from __future__ import annotations

import pytest

from codetr.core.errors import UserError
from codetr.training.loss_statistics import LossStatistics


def test_a_loss_that_is_zero_all_epoch_stops_the_run_with_its_name() -> None:
    statistics = LossStatistics()
    for value in (0.5, 0.0, 0.2):
        statistics.add({"roi.cls": value, "atss.cls": 0.0})
        statistics.take_means()
    with pytest.raises(UserError, match=r"'atss.cls' was exactly zero in every step of epoch 2") as caught:
        statistics.end_epoch(1)
    assert "roi.cls" not in str(caught.value)


def test_a_loss_that_was_once_above_zero_is_alive() -> None:
    statistics = LossStatistics()
    statistics.add({"a": 1e-9})
    statistics.add({"a": 0.0})
    statistics.end_epoch(0)


def test_an_epoch_cut_in_two_is_judged_as_one() -> None:
    """A resume in mid-epoch must neither forget that a loss was alive nor change the next row's means."""
    before = LossStatistics()
    before.add({"a": 2.0})
    after = LossStatistics(before.state())
    after.add({"a": 0.0})
    assert after.take_means() == {"a": 1.0}
    after.end_epoch(0)


def test_the_first_step_of_a_run_does_not_count() -> None:
    """Queries that start on their objects have no loss before any weight has moved; an epoch may be one step."""
    statistics = LossStatistics()
    statistics.add({"a": 0.0}, untrained=True)
    statistics.end_epoch(0)
    statistics.add({"a": 0.0})
    with pytest.raises(UserError, match="epoch 2"):
        statistics.end_epoch(1)
