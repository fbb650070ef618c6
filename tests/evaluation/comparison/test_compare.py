"""Comparing two models: equal, different and incomparable ones; the files of a comparison."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.evaluation.comparison.compare import EvaluationComparison, compare_evaluations, signed
from codetr.evaluation.comparison.match_table import MatchTable
from codetr.evaluation.evaluate import evaluate_results
from codetr.evaluation.report.comparison_page import PARTS, plot_differences, write_comparison
from tests.support.evaluation.evaluation_sets import random_set, sides


def table(seed: int, **changes: Any) -> MatchTable:
    """Matches on the same ground truth; the seed shifts the boxes of the detections."""
    ground_truth, found = random_set(0, images=40)
    draw = np.random.default_rng(seed)
    for entry in found if seed else ():
        entry["bbox"] = (np.array(entry["bbox"]) + draw.normal(0, 9, 4) * [1, 1, 0, 0]).tolist()
    truth, predictions = sides(ground_truth, found)
    return dataclasses.replace(MatchTable.of(evaluate_results(truth, predictions).matching, truth), **changes)


def compared(first: MatchTable, second: MatchTable) -> EvaluationComparison:
    return compare_evaluations((first, second), ("old", "new"), sets=200, confidence=0.95, seed=0)


def test_a_model_does_not_differ_from_itself() -> None:
    """Samples drawn separately for each model would add a difference between them."""
    same = compared(table(0), table(0))
    for row in same.summary + same.classes:
        assert row.first == row.second
        assert row.difference.value in (0.0, None)
        assert row.p in (1.0, None)
    assert same.significant == []


def test_worse_boxes_are_significantly_worse_and_vice_versa() -> None:
    worse, better = compared(table(0), table(1)), compared(table(1), table(0))
    assert [row.name for row in worse.summary[:3]] == ["AP", "AP50", "AP75"]
    there, back = worse.summary[2].difference, better.summary[2].difference
    assert (there.high or 0) < 0 < (back.low or 0)
    assert there.value == -(back.value or 0)
    assert worse.summary[2].p == better.summary[2].p
    assert (worse.summary[2].p or 1) < 0.05


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"image_ids": np.arange(40) + 7}, "images"),
        ({"category_ids": np.arange(4) + 7}, "classes"),
        ({"names": tuple("abcd")}, "names of classes"),
        ({"frequency": ("r", None, None, "f")}, "frequencies of classes"),
        ({"federated": True}, "metrics"),
        ({"gt_counts": np.zeros((4, 60), bool)}, "ignored objects"),
    ],
)
def test_models_that_were_measured_on_something_else_are_not_compared(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=f"different {what}"):
        compared(table(0), table(1, **changes))


def test_a_metric_counts_the_images_with_objects_it_is_about() -> None:
    """The fewer images, the wider the interval: small objects in three images must not be counted as if in all."""
    first = table(0)
    rows = {row.name: row for row in compared(first, table(1)).summary}
    for name, area in (("AP", 0), ("AR10", 0), ("APs", 1), ("ARl", 3)):
        assert rows[name].images == len(np.unique(first.gt_image[first.gt_counts[area]])), name
    groups = ("r", "c", "f", "f")
    rare = dataclasses.replace(first, frequency=groups, federated=True)
    rows = {row.name: row for row in compared(rare, rare).summary}
    assert rows["APr"].images == len(np.unique(first.gt_image[first.gt_counts[0] & (first.gt_label == 0)]))
    assert rows["APf"].images == len(np.unique(first.gt_image[first.gt_counts[0] & (first.gt_label >= 2)]))
    assert rows["ARs@300"].images == len(np.unique(first.gt_image[first.gt_counts[1]]))


def test_equal_models_have_a_plot_that_shows_it() -> None:
    """Without intervals the plot was blank, as if something had failed."""
    same, different = compared(table(0), table(0)), compared(table(0), table(1))
    sizes = []
    for comparison in (same, different):
        picture = Image.open(io.BytesIO(plot_differences(comparison.summary, [], comparison.confidence)))
        assert np.asarray(picture).std() > 1
        sizes.append(picture.size)
    assert sizes[0] == sizes[1], "as many rows"


def test_names_are_no_formulas_and_no_markup() -> None:
    """A class called "$5" or "$x" must not stop the plot, nor a very long name fill it."""
    names = ("$x^$", "$5 and $6^$", "x" * 5000, "[b]")
    comparison = compared(table(0, names=names), table(1, names=names))
    assert any(row.difference.low is not None for row in comparison.classes)
    plot = plot_differences(comparison.summary, comparison.classes, comparison.confidence)
    width, height = Image.open(io.BytesIO(plot)).size
    assert width < 1300
    assert height < 1200


def test_files_agree_and_names_are_escaped(tmp_path: Path) -> None:
    comparison = compare_evaluations(
        (table(0, names=("<b>a", "b", "c", "d")), table(1, names=("<b>a", "b", "c", "d"))),
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


@pytest.mark.parametrize(
    ("difference", "text"), [(0.01234, "+0.0123"), (-0.5, "-0.5000"), (4e-5, "0.0000"), (-0.0, "0.0000")]
)
def test_a_difference_has_four_decimals_and_zero_no_sign(difference: float, text: str) -> None:
    """The terminal, the page and the headline of a report would give three numbers for one difference."""
    assert signed(difference) == text
