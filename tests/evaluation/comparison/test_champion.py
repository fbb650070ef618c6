"""The comparison with the champion: what the top of the report claims, and the images that changed most."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetr.core.errors import UserError
from codetr.evaluation.comparison.bootstrap import Estimate
from codetr.evaluation.comparison.champion import (
    NO_CHAMPION,
    NOT_COMPARED,
    Champion,
    ChampionComparison,
    ChangedImage,
    compare_with_champion,
    compared_with,
    image_changes,
    verdict_on,
)
from codetr.evaluation.comparison.compare import ComparedMetric, EvaluationComparison
from codetr.evaluation.comparison.match_table import MATCHES, MatchTable
from codetr.evaluation.metrics.coco import evaluate_coco
from codetr.evaluation.metrics.operating_point import ImageMetrics
from codetr.evaluation.metrics.summary import Metrics
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.registry.gate import EvaluatedModel, evaluate_gate
from tests.support.evaluation.evaluation_sets import random_set

GATE = evaluate_gate(EvaluatedModel({}, None, (), ""), None)
"""A decision of the gate that these tests do not look at."""


def comparison(value: float | None, low: float | None, high: float | None) -> ChampionComparison:
    """A comparison whose difference in AP is as given."""
    ap = ComparedMetric("AP", 50, Estimate(0.4, 0.3, 0.5), Estimate(0.41, 0.3, 0.5), Estimate(value, low, high), 0.1)
    boxes = EvaluationComparison(("champion v3", "new model"), 50, 100, 0.95, 0, [ap], [])
    return ChampionComparison(Champion("v3", "2026-01-01", Path(), GATE), boxes, None, [], [], 0.5)


@pytest.mark.parametrize(
    ("difference", "tone", "headline"),
    [
        ((0.012, 0.004, 0.02), "better", "Better than the champion v3: AP +0.0120 [+0.0040, +0.0200]"),
        ((-0.012, -0.02, -0.004), "worse", "Worse than the champion v3: AP -0.0120 [-0.0200, -0.0040]"),
        ((0.012, -0.004, 0.03), "unclear", "No clear difference from the champion v3: AP +0.0120 [-0.0040, +0.0300]"),
        ((0.0, None, None), "unclear", "Equal to the champion v3: AP 0.0000"),
        ((-0.2, None, None), "unclear", "Lower AP than the champion v3: -0.2000"),
        ((None, None, None), "unclear", "Not comparable with the champion v3"),
    ],
)
def test_the_headline_says_whether_the_model_is_better(
    difference: tuple[float | None, float | None, float | None], tone: str, headline: str
) -> None:
    """A reviewer reads this line and nothing else."""
    verdict = verdict_on(comparison(*difference))
    assert (verdict.tone, verdict.headline) == (tone, headline)


@given(
    value=st.floats(-1, 1),
    widths=st.none() | st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
)
def test_better_is_claimed_only_if_the_interval_is_above_zero(value: float, widths: tuple[float, float] | None) -> None:
    """Whatever the numbers are: never "better" for an interval that holds zero, never a sign before a zero."""
    low, high = (None, None) if widths is None else (value - widths[0], value + widths[1])
    verdict = verdict_on(comparison(value, low, high))
    assert (verdict.tone == "better") == (low is not None and low > 0)
    assert (verdict.tone == "worse") == (high is not None and high < 0)
    assert "+0.0000" not in verdict.headline
    assert "-0.0000" not in verdict.headline


def stored(folder: Path, metrics: Metrics, truth: GroundTruth) -> Champion:
    """A champion whose evaluation has what the comparison reads."""
    MatchTable.of(metrics.matching, truth).write(folder / MATCHES)
    (folder / "per_image.json").write_text(json.dumps([asdict(image) for image in metrics.images]))
    (folder / "pr_curve.json").write_text('[{"recall": 0.0, "precision": 1.0, "precision50": 1.0}]')
    (folder / "metrics.json").write_text(json.dumps(metrics.flat))
    return Champion("v1", "2026-01-01T00:00:00+00:00", folder, GATE)


def test_the_images_that_changed_most_come_first(tmp_path: Path) -> None:
    ground_truth, found = random_set(0)
    truth = GroundTruth.of_coco(ground_truth)
    before, after = evaluate_coco(ground_truth, found), evaluate_coco(ground_truth, found[::2])
    compared = compare_with_champion(
        stored(tmp_path, before, truth), MatchTable.of(after.matching, truth), None, after.images, resamples=10
    )
    assert compared.boxes.summary[0].first.value == pytest.approx(before.summary["AP"])
    assert compared.boxes.summary[0].second.value == pytest.approx(after.summary["AP"])
    fallen = [image.difference for image in compared.worsened(5)]
    assert fallen == sorted(fallen)
    assert all(change < 0 for change in fallen)
    assert all(image.difference > 0 for image in compared.improved(5))
    assert [entry["image_id"] for entry in image_changes(compared)][-1] == compared.worsened(1)[0].after.image_id
    assert compared.threshold == before.operating_point.score


def test_images_without_objects_are_no_change() -> None:
    """Their AP is not defined, so a rise from nothing to nothing must not be shown."""
    image = ImageMetrics(1, "a.jpg", 2, 1, 0, 1, 0.5, 0.5)
    assert ChangedImage(image, image).difference == 0
    assert ChangedImage(image, dataclasses.replace(image, f1=None, AP=None)).difference < 0


def test_a_champion_of_another_version_is_no_error_after_hours_of_detection(tmp_path: Path) -> None:
    """The evaluation is kept, and the report says why there is no comparison."""
    ground_truth, found = random_set(1)
    truth, metrics = GroundTruth.of_coco(ground_truth), evaluate_coco(ground_truth, found)
    champion = stored(tmp_path, metrics, truth)
    tables = {MATCHES: MatchTable.of(metrics.matching, truth)}
    (tmp_path / "per_image.json").write_text('[{"image_id": 1, "score": 0.5}]')
    with pytest.raises(UserError, match="another version of codetr"):
        compare_with_champion(champion, tables[MATCHES], None, metrics.images)
    verdict, none = compared_with(champion, tables, metrics.images, progress=False)
    assert none is None
    assert verdict.headline == "Not comparable with the champion v1"
    assert "another version of codetr" in verdict.explanation


def test_without_a_comparable_champion_the_report_says_so() -> None:
    for nothing in (NOT_COMPARED, NO_CHAMPION):
        assert compared_with(nothing, {}, []) == (nothing, None)
    other = Champion("v2", "", Path(), GATE, ("the champion was evaluated on another evaluation set",))
    verdict, none = compared_with(other, {}, [])
    assert none is None
    assert verdict.explanation == "The champion was evaluated on another evaluation set."
