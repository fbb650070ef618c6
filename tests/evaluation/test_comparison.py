"""Comparing two models: what is the same, what differs, what cannot be compared; its files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from codetr.errors import UserError
from codetr.evaluation.comparing import PARTS, write_comparison
from codetr.evaluation.comparison import Comparison, compare
from codetr.evaluation.measure import evaluate_results
from codetr.evaluation.outcomes import Outcomes
from tests.evaluation.sets import random_set, sides


def outcomes(seed: int, **changes: object) -> Outcomes:
    """Of detections on the same ground truth whatever the seed, which is of the shifts of their boxes."""
    ground_truth, found = random_set(0, images=40)
    draw = np.random.default_rng(seed)
    for entry in found if seed else ():
        entry["bbox"] = (np.array(entry["bbox"]) + draw.normal(0, 5, 4) * [1, 1, 0, 0]).tolist()
    truth, predictions = sides(ground_truth, found)
    return dataclasses.replace(Outcomes.of(evaluate_results(truth, predictions).matching, truth), **changes)


def compared(first: Outcomes, second: Outcomes) -> Comparison:
    return compare((first, second), ("old", "new"), sets=200, confidence=0.95, seed=0)


def test_a_model_does_not_differ_from_itself() -> None:
    """Drawn for each model by itself, the sets would make a difference of their own."""
    same = compared(outcomes(0), outcomes(0))
    for row in same.summary + same.classes:
        assert row.first == row.second
        assert row.difference.value in (0.0, None)
        assert row.p in (1.0, None)
    assert same.clear == []


def test_worse_boxes_are_clearly_worse_and_the_other_way_round() -> None:
    worse, better = compared(outcomes(0), outcomes(1)), compared(outcomes(1), outcomes(0))
    assert [row.name for row in worse.summary[:3]] == ["AP", "AP50", "AP75"]
    there, back = worse.summary[2].difference, better.summary[2].difference
    assert (there.high or 0) < 0 < (back.low or 0)
    assert there.value == -(back.value or 0)
    assert worse.summary[2].p == better.summary[2].p < 0.05


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"image_ids": np.arange(40) + 7}, "images"),
        ({"category_ids": np.arange(4) + 7}, "classes"),
        ({"names": tuple("abcd")}, "names of classes"),
        ({"frequency": ("r", None, None, "f")}, "frequencies of classes"),
        ({"federated": True}, "metrics"),
        ({"sought": np.zeros((4, 60), bool)}, "objects to be found"),
    ],
)
def test_models_that_were_measured_on_something_else_are_not_compared(changes: dict[str, object], what: str) -> None:
    with pytest.raises(UserError, match=f"different {what}"):
        compared(outcomes(0), outcomes(1, **changes))


def test_files_tell_the_same_and_names_are_escaped(tmp_path: Path) -> None:
    comparison = compare(
        (outcomes(0, names=("<b>a", "b", "c", "d")), outcomes(1, names=("<b>a", "b", "c", "d"))),
        ("<i>old", "new"),
        sets=50,
        confidence=0.9,
        seed=3,
    )
    write_comparison(tmp_path / "out", comparison)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(PARTS)
    written = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert written["summary"][0]["difference"]["value"] == comparison.summary[0].difference.value
    assert written["confidence"] == 0.9
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<b>a" not in page
    assert "<i>old" not in page
    assert "&lt;b&gt;a" in page
    assert page.count("<tr") == 2 + len(comparison.summary) + len(comparison.classes)
