"""Every way in which a challenger passes or is refused."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from codetr.registry.gate import EvaluatedModel, evaluate_gate

NUMBER = itertools.count()


def evaluated(
    ap: object,
    evaluation_set: str | None = "set",
    classes: tuple[str, ...] = ("a", "b"),
    model: str | None = None,
    conditions: dict[str, Any] | None = None,
) -> EvaluatedModel:
    metrics = {} if ap == "absent" else {"AP": ap, "AP50": 0.9}
    return EvaluatedModel(metrics, evaluation_set, classes, model or f"model-{next(NUMBER)}", conditions or {})


def test_the_first_version_passes() -> None:
    verdict = evaluate_gate(evaluated(0.01), None)
    assert verdict.promoted
    assert (verdict.challenger, verdict.champion) == (0.01, None)


def test_better_passes_with_both_numbers_recorded() -> None:
    verdict = evaluate_gate(evaluated(0.42), evaluated(0.40), "v7")
    assert verdict.promoted
    assert (verdict.challenger, verdict.champion, verdict.champion_version) == (0.42, 0.40, "v7")
    assert "0.4200 is better than 0.4000 of the champion v7" in verdict.reasons[0]


@pytest.mark.parametrize("ap", [0.40, 0.39])
def test_equal_or_worse_is_refused(ap: object) -> None:
    """An equal model is no reason to change what is in use."""
    verdict = evaluate_gate(evaluated(ap), evaluated(0.40), "v7")
    assert not verdict.promoted
    assert "not better than 0.4000" in verdict.reasons[0]


@pytest.mark.parametrize(("ap", "promoted"), [(0.405, False), (0.41, True), (0.42, True)])
def test_a_required_improvement_counts(ap: object, promoted: bool) -> None:
    assert evaluate_gate(evaluated(ap), evaluated(0.375), min_improvement=0.03125).promoted is promoted


def test_the_floor_holds_for_the_first_version_too() -> None:
    verdict = evaluate_gate(evaluated(0.2), None, floor=0.3)
    assert not verdict.promoted
    assert "below the floor" in verdict.reasons[0]


@pytest.mark.parametrize("ap", ["absent", None, math.nan, math.inf, -1, "0.5", True])
def test_what_is_not_a_value_of_a_metric_is_refused_on_either_side(ap: object) -> None:
    """-1 is what COCO tools write where nothing was measured; NaN compares as neither better nor worse."""
    assert not evaluate_gate(evaluated(ap), None).promoted
    assert not evaluate_gate(evaluated(ap), evaluated(0.1)).promoted
    assert not evaluate_gate(evaluated(0.9), evaluated(ap)).promoted


def test_another_evaluation_set_is_refused_however_good() -> None:
    verdict = evaluate_gate(evaluated(0.9, "easy"), evaluated(0.4, "hard"), "v1")
    assert not verdict.promoted
    assert "another evaluation set" in verdict.reasons[0]


def test_the_champions_model_evaluated_on_a_new_set_stays_champion() -> None:
    """Without it, a new evaluation set would lock every later challenger out."""
    verdict = evaluate_gate(evaluated(0.3, "new", model="m"), evaluated(0.4, "old", model="m"), "v1")
    assert verdict.promoted
    assert "evaluated on another evaluation set" in verdict.reasons[0]
    assert not evaluate_gate(evaluated(0.3, "old", model="m"), evaluated(0.4, "old", model="m"), "v1").promoted
    assert not evaluate_gate(evaluated(None, "new", model="m"), evaluated(0.4, "old", model="m"), "v1").promoted
    assert not evaluate_gate(evaluated(0.3, None, model="m"), evaluated(0.4, "old", model="m"), "v1").promoted


@pytest.mark.parametrize(("new", "old"), [(None, "set"), ("set", None), (None, None)])
def test_an_unknown_evaluation_set_is_not_the_same(new: str | None, old: str | None) -> None:
    assert not evaluate_gate(evaluated(0.9, new), evaluated(0.4, old)).promoted


@pytest.mark.parametrize(
    ("classes", "said"), [(("a", "b", "c"), "'c' is new"), (("a",), "'b' is gone"), (("b", "a"), "the order differs")]
)
def test_other_classes_are_refused_and_named(classes: tuple[str, ...], said: str) -> None:
    verdict = evaluate_gate(evaluated(0.9, classes=classes), evaluated(0.4))
    assert not verdict.promoted
    assert said in verdict.reasons[0]


def test_every_reason_is_given() -> None:
    verdict = evaluate_gate(evaluated(0.1, "other", ("c",)), evaluated(0.4), floor=0.2)
    assert len(verdict.reasons) == 4


def test_another_metric_can_count() -> None:
    champion = EvaluatedModel({"AP": 0.4, "AP50": 0.8}, "set", ("a", "b"), "other")
    assert evaluate_gate(evaluated(0.1), champion, metric="AP50").promoted


PLAIN = {"batch_size": 1, "tta": None}
AUGMENTED = {"batch_size": 1, "tta": {"scales": [1.0, 1.25], "flip": True}}


@pytest.mark.parametrize(
    ("challenger", "champion"), [(AUGMENTED, PLAIN), (PLAIN, AUGMENTED), (PLAIN, {**PLAIN, "batch_size": 4})]
)
def test_other_conditions_are_refused_however_good(challenger: dict[str, Any], champion: dict[str, Any]) -> None:
    """Test-time augmentation raises the AP of any model: a worse one would be promoted by it."""
    verdict = evaluate_gate(evaluated(0.9, conditions=challenger), evaluated(0.4, conditions=champion), "v1")
    assert not verdict.promoted
    assert "under the same conditions" in verdict.reasons[0]


def test_models_evaluated_under_the_same_conditions_are_compared() -> None:
    assert evaluate_gate(evaluated(0.5, conditions=AUGMENTED), evaluated(0.4, conditions=AUGMENTED), "v1").promoted


def test_the_champion_evaluated_under_other_conditions_replaces_itself() -> None:
    """Otherwise no team could begin to evaluate with test-time augmentation."""
    verdict = evaluate_gate(
        evaluated(0.3, model="m", conditions=AUGMENTED), evaluated(0.4, model="m", conditions=PLAIN), "v1"
    )
    assert verdict.promoted
    assert "under other conditions" in verdict.reasons[0]


def test_a_condition_that_is_not_recorded_counts_as_null() -> None:
    """An evaluation of a release without tiles is one without tiles."""
    old, new = {"batch_size": 1}, {"batch_size": 1, "tiles": None}
    assert evaluate_gate(evaluated(0.5, conditions=new), evaluated(0.4, conditions=old), "v1").promoted
    verdict = evaluate_gate(evaluated(0.5, conditions={**new, "tiles": {"size": 512}}), evaluated(0.4, conditions=old))
    assert "tiles" in verdict.reasons[0]
