"""The report in a browser: slider, filters and sorting, and its size and completeness for LVIS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codetr.evaluation.analysis.explain import analyse
from codetr.evaluation.evaluate import evaluate_results
from codetr.evaluation.report.overlays import OverlayBuilder, within_byte_budget
from codetr.evaluation.report.page import EvaluationReport, render_report
from codetr.evaluation.report.pictures import choose
from codetr.evaluation.report.writer import PICTURE_BYTES
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable
from tests.support.browser import Browser, installed
from tests.support.evaluation.evaluation_sets import detection, truth

PROGRAM = installed()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")

CLASSES, IMAGES = 1203, 120


@pytest.fixture(scope="module")
def overlays() -> OverlayBuilder:
    """A federated set with LVIS's number of classes and 300 detections of an image; pictures are noise."""
    draw = np.random.default_rng(0)
    objects: list[tuple[int, int, list[float]]] = []
    results: list[dict[str, Any]] = []
    for k in range(1, CLASSES + 1):
        image = 1 + k % IMAGES
        box = [*draw.uniform(0, 300, 2), *draw.uniform(20, 200, 2)]
        objects.append((image, k, box))
        if k % 3:
            results.append(detection(image, k, box, float(draw.uniform(0.3, 1))))
    ground_truth = truth(objects, IMAGES, CLASSES)
    for entry in ground_truth["categories"]:
        entry["name"] = f"class with a long name {entry['id']}"
        entry["frequency"] = "rcf"[entry["id"] % 3]
    for image in ground_truth["images"]:
        verified = sorted({k for i, k, _ in objects if i == image["id"]})
        image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
        results += [
            detection(image["id"], int(draw.choice(verified)), box.tolist(), float(draw.beta(1, 5)))
            for box in draw.uniform(10, 250, (290, 4))
        ]
    found = GroundTruth.of_coco(ground_truth)
    predictions = PredictionTable.of_coco(results, found)
    analysis = analyse(found, predictions, evaluate_results(found, predictions))
    return OverlayBuilder(found, predictions, analysis, lambda _: draw.integers(0, 255, (480, 640, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def page(overlays: OverlayBuilder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    choice = choose(overlays.analysis.metrics, 40)
    best, worst = (
        within_byte_budget(map(overlays.whole, images), PICTURE_BYTES) for images in (choice.best, choice.worst)
    )
    report = EvaluationReport(
        "many", "val", overlays.analysis, [], best, worst, overlays.examples_of_errors(4), 80, [("model", "sha256:0")]
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_report(report), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests: it takes seconds to start."""
    assert PROGRAM is not None
    with Browser(PROGRAM, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(started: Browser, page: Path) -> Browser:
    """The page as it is when it has been loaded."""
    started.open(page)
    return started


def counts(browser: Browser) -> list[list[int]]:
    """Return TP, FP and missed of every example, as its tags say."""
    return browser.evaluate(
        "[...document.querySelectorAll('.example')].map(figure =>"
        " ['tp', 'fp', 'missed'].map(name => Number(figure.querySelector(`[data-count=${name}]`).textContent)))"
    )


def drawn(browser: Browser) -> list[list[int]]:
    """The same as boxes that can be seen."""
    return browser.evaluate(
        "[...document.querySelectorAll('.example')].map(figure => ['tp', 'fp', 'missed'].map(name =>"
        " [...figure.querySelectorAll('g.' + name)].filter(mark => getComputedStyle(mark).display !== 'none').length))"
    )


def names(browser: Browser) -> list[str]:
    """Classes in the rows that are shown."""
    return browser.evaluate(
        "[...document.querySelector('#classes table').tBodies[0].rows].filter(row => row.offsetHeight)"
        ".map(row => row.cells[0].textContent)"
    )


def choose_value(browser: Browser, selector: str, value: str) -> None:
    browser.evaluate(
        f"(e => {{ e.value = '{value}'; e.dispatchEvent(new Event('input')); }})(document.querySelector('{selector}'))"
    )


def test_it_is_small_and_its_scripts_run(page: Path, browser: Browser) -> None:
    """Mail and artifact viewers refuse large pages; a script that fails leaves controls that do nothing."""
    assert page.stat().st_size < 10 << 20
    assert browser.problems == []
    assert len(names(browser)) == CLASSES


def test_the_slider_shows_and_counts_detections_by_score(overlays: OverlayBuilder, browser: Browser) -> None:
    """At first the operating point, as in every table; then what the same images look like at another threshold."""
    at_first = counts(browser)
    assert drawn(browser) == at_first
    choose_value(browser, "#threshold", "0.9")
    few = counts(browser)
    assert drawn(browser) == few
    for before, after in zip(at_first, few, strict=True):
        assert after[0] <= before[0]
        assert after[1] <= before[1]
        assert after[0] + after[2] == before[0] + before[2]
    assert few != at_first
    assert browser.evaluate("document.querySelector('#chosen').textContent") == "0.900"
    choose_value(browser, "#threshold", "1")
    assert {tuple(entry[:2]) for entry in counts(browser)} == {(0, 0)}
    browser.evaluate("document.querySelector('#reset').click()")
    assert counts(browser) == drawn(browser) == at_first


def test_the_slider_listens_to_the_keyboard(browser: Browser) -> None:
    before = counts(browser)
    browser.evaluate("document.querySelector('#threshold').focus()")
    browser.press("End", 35)
    assert browser.evaluate("document.querySelector('#threshold').value") == "1"
    assert counts(browser) != before


def test_kinds_of_boxes_can_be_switched_off(browser: Browser) -> None:
    """Counts stay: they are of the picture and not of what is looked at."""
    before = counts(browser)
    browser.evaluate("document.querySelector('[data-show=fp]').click()")
    assert all(entry[1] == 0 for entry in drawn(browser))
    assert [entry[0] for entry in drawn(browser)] == [entry[0] for entry in before]
    assert counts(browser) == before


def test_classes_are_filtered_by_name_and_frequency(browser: Browser) -> None:
    choose_value(browser, "#classes .search", "NAME 12")
    found = names(browser)
    assert found == [name for k in range(1, CLASSES + 1) if "name 12" in (name := f"class with a long name {k}")]
    choose_value(browser, "#frequency", "r")
    assert names(browser) == [name for name in found if int(name.split()[-1]) % 3 == 0]
    assert browser.evaluate("document.querySelector('#matching').textContent") == f"{len(names(browser))} of {CLASSES}"


def test_classes_are_sorted_and_columns_chosen(browser: Browser) -> None:
    values = (
        "(n => [...document.querySelector('#classes tbody').rows].map(row => Number(row.cells[n].textContent)))"
        "([...document.querySelectorAll('#classes th')].findIndex(h => h.textContent.trim() === 'Background'))"
    )
    assert (before := browser.evaluate(values)) != sorted(before, reverse=True)
    browser.evaluate(
        "[...document.querySelectorAll('#classes th button')].find(b => b.textContent === 'Background').click()"
    )
    assert browser.evaluate(values) == sorted(before, reverse=True)
    browser.evaluate("document.querySelector('#classes button[data-view=errors]').click()")
    shown = browser.evaluate(
        "[...document.querySelectorAll('#classes th')].filter(h => h.offsetWidth).map(h => h.textContent.trim())"
    )
    errors = ["Classification", "Localisation", "Both", "Duplicate", "Background", "Missed", "Overconfidence"]
    assert shown == ["Class", "AP", "Objects", "Frequency", *errors]


@pytest.mark.parametrize("width", [1280, 420])
def test_nothing_is_wider_than_the_window(started: Browser, page: Path, width: int) -> None:
    """Wide tables scroll in themselves; a page that scrolls sideways cannot be read on a telephone."""
    started.open(page, width)
    assert started.evaluate("document.documentElement.scrollWidth") <= width


def test_without_its_script_the_page_shows_the_operating_point(browser: Browser, page: Path) -> None:
    """Some viewers of artifacts and mails run none."""
    before = counts(browser)
    with browser.without_scripts():
        browser.open(page)
        assert counts(browser) == drawn(browser) == before
        assert len(names(browser)) == CLASSES
