"""Configuration errors name the dotted path and the value; overrides reach exactly the field they name."""

from __future__ import annotations

import pytest
from pydantic import Field, PositiveInt

from codetr.core.errors import UserError
from codetr.core.settings import Settings, without


class Optimizer(Settings):
    lr: float = 2e-4
    multipliers: dict[str, float] = Field(default_factory=lambda: {"backbone": 0.1})


class Run(Settings):
    epochs: PositiveInt = 12
    optimizer: Optimizer = Optimizer()
    milestones: tuple[int, ...] = (11,)


def test_overrides_by_dotted_path() -> None:
    run = Run().override(["optimizer.lr=1e-4", "milestones=[8, 10]", "optimizer.multipliers.backbone=0.2"])
    assert run.optimizer.lr == 1e-4, "1e-4 must be read as a number, although YAML 1.1 calls it text"
    assert run.milestones == (8, 10)
    assert run.optimizer.multipliers == {"backbone": 0.2}
    assert run.epochs == 12


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optimizer.learning_rate=1", "'optimizer.learning_rate' does not exist.*lr"),
        ("lr=1", "'lr' does not exist. Did you mean 'optimizer.lr'"),
        ("optimzer.lr=1", "'optimzer.lr' does not exist. Did you mean 'optimizer.lr'"),
        ("epochs=0", r"epochs: .*greater than 0.*\(got 0\)"),
        ("epochs=many", r"epochs: .*\(got 'many'\)"),
        ("epochs", "not of the form"),
        ("epochs.more=1", "does not exist"),
        ("epochs=[1", "not valid YAML"),
    ],
)
def test_a_wrong_override_is_an_error_that_helps(assignment: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Run().override([assignment])


def test_a_misspelt_field_is_an_error() -> None:
    """Ignoring it would train with the default and never say so."""
    with pytest.raises(UserError, match=r"params.yaml: optimizer.lrr: .*not permitted.*Did you mean 'lr'"):
        Run.parse({"optimizer": {"lrr": 1}}, where="params.yaml")


def test_a_large_value_is_shown_shortened() -> None:
    """The text of a value that repeats parts of itself can be larger than memory."""
    value: object = "x" * 10_000
    for _ in range(40):
        value = [value] * 8
    with pytest.raises(UserError) as caught:
        Run.parse({"epochs": value, **{f"field{number}": value for number in range(50)}})
    assert len(str(caught.value)) < 5_000
    assert "and 31 more" in str(caught.value)


def test_values_are_left_out_by_path() -> None:
    """A part that is switched off has no fields to leave out; the values given stay whole."""
    values = {"a": {"b": 1, "c": {"d": 2, "e": 3}}, "off": None, "f": 4}
    left = without(values, ["a.b", "a.c.d", "off.x", "nowhere.y", "f"])
    assert left == {"a": {"c": {"e": 3}}, "off": None}
    assert values["a"] == {"b": 1, "c": {"d": 2, "e": 3}}
