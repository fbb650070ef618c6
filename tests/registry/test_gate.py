"""Every way in which a challenger passes or is refused."""

import itertools
import math

import pytest

from codetr.registry.gate import Measured, judge

NUMBER = itertools.count()


def measured(ap, evaluation_set="set", classes=("a", "b"), model=None, conditions=None) -> Measured:
    metrics = {} if ap == "absent" else {"AP": ap, "AP50": 0.9}
    return Measured(metrics, evaluation_set, classes, model or f"model-{next(NUMBER)}", conditions or {})


def test_the_first_version_passes():
    verdict = judge(measured(0.01), None)
    assert verdict.promoted
    assert (verdict.challenger, verdict.champion) == (0.01, None)


def test_better_passes_with_both_numbers_recorded():
    verdict = judge(measured(0.42), measured(0.40), "v7")
    assert verdict.promoted
    assert (verdict.challenger, verdict.champion, verdict.champion_version) == (0.42, 0.40, "v7")
    assert "0.4200 is better than 0.4000 of the champion v7" in verdict.reasons[0]


@pytest.mark.parametrize("ap", [0.40, 0.39])
def test_equal_or_worse_is_refused(ap):
    """An equal model is no reason to change what is in use."""
    verdict = judge(measured(ap), measured(0.40), "v7")
    assert not verdict.promoted
    assert "not better than 0.4000" in verdict.reasons[0]


@pytest.mark.parametrize(("ap", "promoted"), [(0.405, False), (0.41, True), (0.42, True)])
def test_an_improvement_that_is_asked_for_counts(ap, promoted):
    assert judge(measured(ap), measured(0.375), min_improvement=0.03125).promoted is promoted


def test_the_floor_holds_for_the_first_version_too():
    verdict = judge(measured(0.2), None, floor=0.3)
    assert not verdict.promoted
    assert "below the floor" in verdict.reasons[0]


@pytest.mark.parametrize("ap", ["absent", None, math.nan, math.inf, -1, "0.5", True])
def test_what_is_no_measurement_is_refused_on_either_side(ap):
    """-1 is what COCO tools write where nothing was measured; NaN compares as neither better nor worse."""
    assert not judge(measured(ap), None).promoted
    assert not judge(measured(ap), measured(0.1)).promoted
    assert not judge(measured(0.9), measured(ap)).promoted


def test_another_evaluation_set_is_refused_however_good():
    verdict = judge(measured(0.9, "easy"), measured(0.4, "hard"), "v1")
    assert not verdict.promoted
    assert "another evaluation set" in verdict.reasons[0]


def test_the_champions_model_measured_on_a_new_set_carries_the_championship_over():
    """Without it, a new evaluation set would lock every later challenger out."""
    verdict = judge(measured(0.3, "new", model="m"), measured(0.4, "old", model="m"), "v1")
    assert verdict.promoted
    assert "measured on another evaluation set" in verdict.reasons[0]
    assert not judge(measured(0.3, "old", model="m"), measured(0.4, "old", model="m"), "v1").promoted
    assert not judge(measured(None, "new", model="m"), measured(0.4, "old", model="m"), "v1").promoted
    assert not judge(measured(0.3, None, model="m"), measured(0.4, "old", model="m"), "v1").promoted


@pytest.mark.parametrize(("new", "old"), [(None, "set"), ("set", None), (None, None)])
def test_an_unknown_evaluation_set_is_not_taken_for_the_same(new, old):
    assert not judge(measured(0.9, new), measured(0.4, old)).promoted


@pytest.mark.parametrize(
    ("classes", "said"), [(("a", "b", "c"), "'c' is new"), (("a",), "'b' is gone"), (("b", "a"), "the order differs")]
)
def test_other_classes_are_refused_and_named(classes, said):
    verdict = judge(measured(0.9, classes=classes), measured(0.4))
    assert not verdict.promoted
    assert said in verdict.reasons[0]


def test_every_reason_is_given():
    verdict = judge(measured(0.1, "other", ("c",)), measured(0.4), floor=0.2)
    assert len(verdict.reasons) == 4


def test_another_metric_can_count():
    assert judge(measured(0.1), Measured({"AP": 0.4, "AP50": 0.8}, "set", ("a", "b"), "other"), metric="AP50").promoted


PLAIN = {"batch_size": 1, "tta": None}
AUGMENTED = {"batch_size": 1, "tta": {"scales": [1.0, 1.25], "flip": True}}


@pytest.mark.parametrize(
    ("challenger", "champion"), [(AUGMENTED, PLAIN), (PLAIN, AUGMENTED), (PLAIN, {**PLAIN, "batch_size": 4})]
)
def test_another_way_of_measuring_is_refused_however_good(challenger, champion):
    """Test-time augmentation raises the AP of any model: a worse one would be promoted by it."""
    verdict = judge(measured(0.9, conditions=challenger), measured(0.4, conditions=champion), "v1")
    assert not verdict.promoted
    assert "in the same way" in verdict.reasons[0]


def test_models_measured_in_the_same_way_are_compared():
    assert judge(measured(0.5, conditions=AUGMENTED), measured(0.4, conditions=AUGMENTED), "v1").promoted


def test_the_champion_measured_in_another_way_takes_over_from_itself():
    """Else nobody could begin to evaluate with test-time augmentation."""
    verdict = judge(measured(0.3, model="m", conditions=AUGMENTED), measured(0.4, model="m", conditions=PLAIN), "v1")
    assert verdict.promoted
    assert "in another way" in verdict.reasons[0]
