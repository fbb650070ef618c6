"""Plots, pictures and the report: what they show, and that names in annotation files are escaped."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codetr.evaluation.analysis.explain import analyse
from codetr.evaluation.evaluate import evaluate_results
from codetr.evaluation.metrics.coco import evaluate_coco
from codetr.evaluation.metrics.summary import Metrics
from codetr.evaluation.report.overlays import OverlayBuilder
from codetr.evaluation.report.page import EvaluationReport, render_report
from codetr.evaluation.report.pictures import choose, draw_picture
from codetr.evaluation.report.plots import plot_calibration, plot_classes, plot_confusion, plot_precision_recall
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable
from tests.support.evaluation.evaluation_sets import detection, random_set, sides, truth

HOSTILE = '_$x$ "><script>alert(1)</script>{{ 7 * 7 }}\n'


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    ground_truth, predictions = random_set(5)
    ground_truth["categories"][0]["name"] = HOSTILE
    ground_truth["images"][0]["file_name"] = HOSTILE
    return evaluate_coco(ground_truth, predictions)


def many_classes(count: int) -> Metrics:
    ground_truth = truth([(1, k, [0, 0, 10, 10]) for k in range(1, count + 1)], classes=count)
    return evaluate_coco(ground_truth, [detection(1, k, [0, 0, 10, 10], 0.5) for k in range(1, count + 1, 3)])


@pytest.fixture(scope="module")
def extremes(metrics: Metrics) -> list[Metrics]:
    """Names that are markup, as many classes as LVIS has, and nothing at all."""
    return [metrics, many_classes(1203), evaluate_coco(truth([]), [])]


def overlays(ground_truth: dict[str, Any], predictions: list[dict[str, Any]]) -> OverlayBuilder:
    """Pictures of a set whose images are grey."""
    objects = GroundTruth.of_coco(ground_truth)
    found = PredictionTable.of_coco(predictions, objects)
    analysis = analyse(objects, found, evaluate_results(objects, found))
    return OverlayBuilder(objects, found, analysis, lambda _: np.full((200, 300, 3), 128, np.uint8))


def report(overlays: OverlayBuilder, folder: Path) -> str:
    metrics = overlays.analysis.metrics
    plot_precision_recall(metrics, folder / "pr.png")
    plots = [("Precision over recall", folder / "pr.png")]
    pictures = [overlays.whole(image) for image in metrics.images[:2]]
    errors = overlays.examples_of_errors(2)
    return render_report(
        EvaluationReport(
            "a recipe", "val", overlays.analysis, plots, pictures, pictures, errors, 4, [("model", "sha256:0")]
        )
    )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a set in which the name of a class and that of a file are markup."""
    ground_truth, predictions = random_set(5)
    ground_truth["categories"][0]["name"] = HOSTILE
    ground_truth["images"][0]["file_name"] = HOSTILE
    return report(overlays(ground_truth, predictions), tmp_path_factory.mktemp("hostile"))


def test_names_from_outside_are_text_in_the_report(hostile: str) -> None:
    """A class called <script> in somebody's annotation file would otherwise run in the reader's browser."""
    assert "<script>alert" not in hostile
    assert hostile.count("&lt;script&gt;alert(1)&lt;/script&gt;{{ 7 * 7 }}") >= 5  # classes, pairs, pictures, file


def test_the_report_needs_no_other_file_and_no_network(hostile: str) -> None:
    """It is sent by mail and opened from artifact stores."""
    assert not re.search(r"https?://|<link|@import|url\(", hostile)
    assert all(source.startswith("data:image/") for source in re.findall(r'<img[^>]* src="([^"]*)"', hostile))


def test_a_picture_shows_every_threshold() -> None:
    """Without its script the page shows the operating point, with the counts of the metrics."""
    ground_truth, predictions = random_set(5)
    shown = overlays(ground_truth, predictions)
    point = shown.analysis.metrics.operating_point.score
    for image in shown.analysis.metrics.images:
        marks = shown.whole(image).marks
        tp, fp = (sum(m.kind == kind and m.score >= point for m in marks) for kind in ("tp", "fp"))
        missed = sum(m.kind == "object" and m.score < point for m in marks)
        assert (tp, fp, missed) == (image.tp, image.fp, image.fn)
        detections = [m.score for m in marks if m.kind in ("tp", "fp", "ignored")]
        assert len(detections) <= max(100, sum(score >= point for score in detections))


def test_examples_of_errors_are_shown_by_type() -> None:
    ground_truth = truth([(1, 1, [10, 10, 100, 100])])
    results = [
        detection(1, 2, [10, 10, 100, 100], 0.9),
        detection(1, 1, [200, 100, 60, 60], 0.8),
        detection(2, 1, [20, 20, 60, 60], 0.7),
    ]
    shown = {
        name: [part.caption for part in parts] for name, parts in overlays(ground_truth, results).examples_of_errors(2)
    }
    assert shown == {
        "classification": ["class 2 0.90, annotated: class 1"],
        "background": ["class 1 0.80", "class 1 0.70"],
    }


def test_the_report_shows_every_class_and_a_dash_for_what_is_not_measured(tmp_path: Path) -> None:
    """A class without ground truth has no AP; 0.000 or nan would be read as a result."""
    html = report(overlays(truth([(1, 1, [0, 0, 50, 50])]), [detection(1, 1, [0, 0, 50, 50], 0.9)]), tmp_path)
    rows = re.findall(r"<tr><td>class \d<td.*", html)
    assert len(rows) == 2
    assert "1.000" in rows[0]
    assert "\u2013" in rows[1]
    assert "nan" not in rows[1].lower()


def test_the_page_of_very_many_classes_is_small() -> None:
    """Ten thousand rows of twenty columns: every letter of a cell counts."""
    ground_truth = truth([(1, k, [0, 0, 10, 10]) for k in range(1, 2001)], classes=2000)
    found = [detection(1, k, [0, 0, 10, 10], 0.5) for k in range(1, 2001, 3)]
    objects, predictions = sides(ground_truth, found)
    analysis = analyse(objects, predictions, evaluate_results(objects, predictions))
    html = render_report(EvaluationReport("a recipe", "val", analysis, [], [], [], [], 0, []))
    assert len(html) < 2000 * 250 + 100_000
    assert "Not compared with a champion" in html


@pytest.mark.parametrize("draw", [plot_precision_recall, plot_classes, plot_calibration])
def test_plots_take_any_names_and_any_number_of_classes(
    draw: Callable[[Metrics, Path], None], extremes: list[Metrics], tmp_path: Path
) -> None:
    """`$` begins a formula and a leading `_` hides a label in matplotlib; others fail on one class or on none."""
    for number, shown in enumerate(extremes):
        path = tmp_path / f"{number}.png"
        draw(shown, path)
        with Image.open(path) as picture:
            assert picture.width > 1000
            assert picture.height < 1600
            assert np.asarray(picture).std() > 1


def test_the_confusion_matrix_is_plotted_for_any_names_and_any_number_of_classes(tmp_path: Path) -> None:
    """Of 1,203 classes the confused ones are drawn; of a single class there is no plot."""
    hostile, found = random_set(5)
    hostile["categories"][0]["name"] = HOSTILE
    many = truth([(1, k, [20.0 * k, 0, 10, 10]) for k in range(1, 1204)], classes=1203)
    mixed = [detection(1, k + k % 3, [20.0 * k, 0, 10, 10], 0.5) for k in range(1, 1202)]
    for number, pair in enumerate(((hostile, found), (many, mixed))):
        analysis = overlays(*pair).analysis
        path = tmp_path / f"{number}.png"
        assert plot_confusion(analysis, path)
        with Image.open(path) as picture:
            assert picture.height < 1600
            assert np.asarray(picture).std() > 1
    alone = overlays(truth([(1, 1, [0, 0, 9, 9])], classes=1), []).analysis
    assert not plot_confusion(alone, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_a_plot_of_the_same_numbers_is_the_same_file(metrics: Metrics, tmp_path: Path) -> None:
    """A date or a version inside would change the digest of an evaluation that did not change."""
    plot_classes(metrics, tmp_path / "a.png")
    plot_classes(metrics, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_worst_images_have_errors_and_best_ones_true_positives(metrics: Metrics) -> None:
    """The reader of the report draws conclusions from them."""
    choice = choose(metrics, 4)
    assert len(choice.worst) == len(choice.best) == 4
    judged = [entry.f1 for entry in metrics.images if entry.f1 is not None]
    assert choice.worst[0].f1 == min(judged)
    assert choice.best[0].f1 == max(judged)
    assert not {entry.image_id for entry in choice.worst} & {entry.image_id for entry in choice.best}


def test_choosing_from_fewer_images_than_requested(metrics: Metrics) -> None:
    """A perfect image is not among the worst, however many are requested."""
    perfect = evaluate_coco(truth([(1, 1, [0, 0, 50, 50])]), [detection(1, 1, [0, 0, 50, 50], 0.9)])
    choice = choose(perfect, 8)
    assert choice.worst == []
    assert [entry.image_id for entry in choice.best] == [1]


def drawn(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], threshold: float, position: int = 0
) -> np.ndarray:
    """The picture of an image, which is black."""
    objects, predictions = sides(ground_truth, results)
    matches = evaluate_results(objects, predictions).matches
    image = np.zeros((200, 300, 3), np.uint8)
    return np.asarray(draw_picture(image, position, objects, predictions, matches, threshold, long_side=300))


def test_compared_halves_show_truth_left_and_detections_above_the_threshold_right() -> None:
    """Swapped halves, or detections below the threshold, would contradict the metrics."""
    ground_truth = truth([(1, 1, [50, 50, 100, 100])], images=1)
    found = [detection(1, 2, [50, 50, 100, 100], 0.3)]
    below, above = (drawn(ground_truth, found, threshold) for threshold in (0.4, 0.2))
    assert below[:, :300].any()
    assert not below[:, 312:].any()
    assert above[:, 312:].any()
    assert (above[:, :300] == below[:, :300]).all()


def test_objects_beyond_the_boxes_that_fit_are_not_drawn_as_missed() -> None:
    """A picture draws 50 detections; the objects that others match are detected all the same."""
    small = [[float(x), float(y), 12.0, 12.0] for y in range(0, 200, 20) for x in range(0, 120, 20)]
    boxes = [*small, [160.0, 20.0, 120.0, 160.0]]
    ground_truth = truth([(1, 1, box) for box in boxes], images=1)
    results = [detection(1, 1, box, 0.9 - k / 1000) for k, box in enumerate(boxes)]
    bottom = np.s_[180, 200:280]  # beside the captions of the small boxes
    assert drawn(ground_truth, results, 0.0)[bottom].any(axis=1).all(), "solid"
    assert not drawn(ground_truth, results, 0.87)[bottom].any(axis=1).all(), "dashed"


def test_ignored_objects_are_never_drawn_as_missed() -> None:
    """LVIS counts neither objects marked with `ignore` nor those without an area."""
    ground_truth = truth([(1, 1, [50, 50, 100, 100]), (1, 1, [200, 20, 60, 60])], images=1)
    ground_truth["images"][0] |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    missed = drawn(ground_truth, [], 0.5)
    ground_truth["annotations"][0]["ignore"] = 1
    ignored = drawn(ground_truth, [], 0.5)
    bottom = np.s_[150, 50:150]
    assert not missed[bottom].any(axis=1).all(), "dashed"
    assert ignored[bottom].any(axis=1).all(), "solid"
    assert (ignored[20:81, 195:] == missed[20:81, 195:]).all(), "the other object is the same"
