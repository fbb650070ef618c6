"""Plots, pictures and the report: what they show, and that names from outside cannot do harm."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codetr.evaluation.coco import evaluate_coco
from codetr.evaluation.metrics import Metrics
from codetr.evaluation.pictures import choose, compare
from codetr.evaluation.plots import plot_classes, plot_precision_recall, plot_scores
from codetr.evaluation.report import Picture, Report, render_report
from tests.evaluation.sets import detection, random_set, truth

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


def report(metrics: Metrics, folder: Path) -> str:
    plot_precision_recall(metrics, folder / "pr.png")
    Image.new("RGB", (4, 4)).save(folder / "picture.jpg")
    pictures = [Picture(folder / "picture.jpg", metrics.images[0])]
    plots = [("Precision over recall", folder / "pr.png")]
    return render_report(Report("a recipe", "val", metrics, plots, pictures, pictures, [("model", "sha256:0")]))


def test_names_from_outside_are_text_in_the_report(metrics: Metrics, tmp_path: Path) -> None:
    """A class called <script> in somebody's annotation file would otherwise run in the reader's browser."""
    html = report(metrics, tmp_path)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{{ 7 * 7 }}" in html


def test_the_report_needs_no_other_file_and_no_network(metrics: Metrics, tmp_path: Path) -> None:
    """It is sent by mail and opened from artifact stores."""
    html = report(metrics, tmp_path)
    assert not re.search(r"https?://|<link|@import|url\(", html)
    assert all(source.startswith("data:image/") for source in re.findall(r'<img[^>]* src="([^"]*)"', html))


def test_the_report_shows_every_class_and_a_dash_for_what_is_not_measured(tmp_path: Path) -> None:
    """A class without ground truth has no AP; 0.000 or nan would be read as a result."""
    metrics = evaluate_coco(truth([(1, 1, [0, 0, 50, 50])]), [detection(1, 1, [0, 0, 50, 50], 0.9)])
    html = report(metrics, tmp_path)
    rows = re.findall(r"<tr>\s*<td data-value=\"class \d\">.*?</tr>", html, re.DOTALL)
    assert len(rows) == 2
    assert "1.000" in rows[0]
    assert "\u2013" in rows[1]
    assert "nan" not in rows[1].lower()


@pytest.mark.parametrize("draw", [plot_precision_recall, plot_classes, plot_scores])
def test_plots_take_any_names_and_any_number_of_classes(draw, extremes: list[Metrics], tmp_path: Path) -> None:
    """`$` begins a formula and a leading `_` hides a label in matplotlib; others fail on one class or on none."""
    for number, shown in enumerate(extremes):
        path = tmp_path / f"{number}.png"
        draw(shown, path)
        with Image.open(path) as picture:
            assert picture.width > 1000
            assert picture.height < 1600
            assert np.asarray(picture).std() > 1


def test_a_plot_of_the_same_numbers_is_the_same_file(metrics: Metrics, tmp_path: Path) -> None:
    """A date or a version inside would change the digest of an evaluation that did not change."""
    plot_classes(metrics, tmp_path / "a.png")
    plot_classes(metrics, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_worst_images_have_mistakes_and_best_ones_successes(metrics: Metrics) -> None:
    """The reader of the report draws conclusions from them."""
    choice = choose(metrics, 4)
    assert len(choice.worst) == len(choice.best) == 4
    judged = [entry.f1 for entry in metrics.images if entry.f1 is not None]
    assert choice.worst[0].f1 == min(judged)
    assert choice.best[0].f1 == max(judged)
    assert not {entry.image_id for entry in choice.worst} & {entry.image_id for entry in choice.best}


def test_choosing_from_fewer_images_than_wanted(metrics: Metrics) -> None:
    """A perfect image is no failure, whatever number of failures is asked for."""
    perfect = evaluate_coco(truth([(1, 1, [0, 0, 50, 50])]), [detection(1, 1, [0, 0, 50, 50], 0.9)])
    choice = choose(perfect, 8)
    assert choice.worst == []
    assert [entry.image_id for entry in choice.best] == [1]


def test_compared_halves_show_truth_left_and_detections_above_the_threshold_right() -> None:
    """Swapped halves, or detections that are not counted, would show another result than the numbers."""
    ground_truth = truth([(1, 1, [50, 50, 100, 100])], images=1)
    image = np.zeros((200, 300, 3), np.uint8)
    found = [detection(1, 2, [50, 50, 100, 100], 0.3)]
    below = np.asarray(compare(image, ground_truth, found, threshold=0.4, long_side=300))
    above = np.asarray(compare(image, ground_truth, found, threshold=0.2, long_side=300))
    assert below[:, :300].any()
    assert not below[:, 312:].any()
    assert above[:, 312:].any()
    assert (above[:, :300] == below[:, :300]).all()
