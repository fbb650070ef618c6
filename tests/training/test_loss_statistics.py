"""Statistics of losses: means between rows, and losses that stay zero."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetr.core.errors import UserError
from codetr.training.loss_statistics import EARLY_STEPS, LossStatistics

SOUND = {"decoder.cls": 1.0, "decoder.l1": 0.5, "rpn.cls": 0.2, "rpn.box": 0.3, "total": 2.0}


def test_a_loss_that_is_zero_all_epoch_is_named_once() -> None:
    """Objects smaller than half of the smallest anchor give the RPN no positives; the other parts learn."""
    statistics = LossStatistics()
    for _ in range(3):
        statistics.add({**SOUND, "rpn.box": 0.0}, objects=2)
        statistics.take_means()
    assert statistics.examine(6) == ["rpn.box"]
    statistics.end_epoch()
    statistics.add({**SOUND, "rpn.box": 0.0}, objects=2)
    assert statistics.examine(2) == []


def test_an_epoch_of_background_is_no_reason_to_stop() -> None:
    """Crops of sparse objects may show none of them."""
    statistics = LossStatistics()
    statistics.add({**SOUND, "decoder.l1": 0.0, "rpn.box": 0.0}, objects=0)
    assert statistics.examine(0) == ["decoder.l1", "rpn.box"]


def test_no_loss_of_any_box_although_there_were_objects_stops_the_run() -> None:
    """The model would be published without having learned a box."""
    statistics = LossStatistics()
    statistics.add({**SOUND, "decoder.l1": 0.0, "rpn.box": 0.0}, objects=3)
    with pytest.raises(UserError, match=r"every loss of boxes was exactly zero in 1 steps on images with 3 objects"):
        statistics.examine(3)


def test_no_loss_at_all_stops_the_run() -> None:
    statistics = LossStatistics()
    statistics.add(dict.fromkeys(SOUND, 0.0), objects=0)
    with pytest.raises(UserError, match="every loss was exactly zero"):
        statistics.examine(0)


@given(st.lists(st.fixed_dictionaries({name: st.sampled_from([0.0, 0.5]) for name in SOUND}), min_size=1, max_size=5))
def test_a_run_stops_only_if_no_loss_that_could_have_been_positive_was(steps: list[dict[str, float]]) -> None:
    statistics = LossStatistics()
    for losses in steps:
        statistics.add(losses, objects=1)
    boxes = any(losses[name] for losses in steps for name in ("decoder.l1", "rpn.box"))
    if boxes:
        assert set(statistics.examine(1)) == {name for name in SOUND if not any(losses[name] for losses in steps)}
    else:
        with pytest.raises(UserError):
            statistics.examine(1)


def test_losses_are_examined_early_in_a_long_epoch() -> None:
    """An epoch of days would be lost before it is said."""
    statistics = LossStatistics()
    early = []
    for _ in range(EARLY_STEPS + 1):
        statistics.add(SOUND, objects=1)
        early.append(statistics.early)
    assert early == [False] * (EARLY_STEPS - 1) + [True, False]


def test_a_loss_that_was_once_above_zero_is_alive() -> None:
    statistics = LossStatistics()
    statistics.add({"a": 1e-9}, objects=1)
    statistics.add({"a": 0.0}, objects=1)
    assert statistics.examine(2) == []


def test_an_epoch_cut_in_two_is_judged_as_one() -> None:
    """A resume in mid-epoch must neither forget that a loss was alive nor change the next row's means."""
    before = LossStatistics()
    before.add({"a": 2.0}, objects=1)
    after = LossStatistics(before.state())
    after.add({"a": 0.0}, objects=1)
    assert after.take_means() == {"a": 1.0}
    assert after.examine(after.objects) == []


def test_the_first_step_of_a_run_does_not_count() -> None:
    """Queries that start on their objects have no loss before any weight has moved; an epoch may be one step."""
    statistics = LossStatistics()
    statistics.add({"a": 0.0}, objects=1, untrained=True)
    assert statistics.examine(statistics.objects) == []
    statistics.end_epoch()
    statistics.add({"a": 0.0}, objects=1)
    with pytest.raises(UserError):
        statistics.examine(statistics.objects)
