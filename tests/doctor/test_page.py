"""The HTML page and the terminal: what they show, and that names from outside cannot do harm."""

from __future__ import annotations

import base64
import io
import re
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from codetr.core.files import read_json, write_json
from codetr.data.config import PreprocessConfig
from codetr.data.ingest.summary import REPORT
from codetr.data.validation.finding_kinds import KINDS
from codetr.doctor.examination import examine_dataset
from codetr.doctor.page import MAX_PICTURES, write_page
from codetr.doctor.terminal import print_report
from tests.doctor.conftest import FaultyDataset
from tests.support.data.faulty_dataset import HOSTILE


@pytest.fixture(scope="module")
def page(faulty: FaultyDataset, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "doctor.html"
    write_page(faulty.examination, path, title=HOSTILE)
    return path.read_text()


def card(page: str, name: str) -> str:
    (found,) = re.findall(
        rf'<div class="finding \w+" id="{name}".*?(?=<div class="finding|</section>)', page, re.DOTALL
    )
    return found


def test_names_from_outside_are_text(page: str) -> None:
    """A class called <script> in an annotation file would otherwise run in the reader's browser."""
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;{{ 7 * 7 }}") >= 3  # title, class, finding


def test_it_needs_no_other_file_and_no_network(page: str) -> None:
    """It is sent by mail and opened from artifact stores."""
    assert not re.search(r"https?://|<link|@import|url\(", page)
    sources = re.findall(r'<img[^>]* src="([^"]*)"', page)
    assert all(source.startswith("data:image/") for source in sources)
    assert len(page) < 10 << 20


def test_every_finding_is_there_with_count_meaning_and_advice(faulty: FaultyDataset, page: str) -> None:
    for finding in faulty.examination.findings:
        kind = KINDS[finding.name]
        shown = unescape(card(page, finding.name))
        assert kind.severity in shown
        assert kind.meaning[1:] in shown
        assert kind.advice in shown
        assert all(f"{count} in {split}" in shown for split, count in finding.counts.items() if split)


@pytest.mark.parametrize("name", ["box_nearly_repeated", "box_disagrees_with_segmentation", "image_nearly_leaked"])
def test_examples_are_drawn(page: str, name: str) -> None:
    """Coordinates alone do not show what is wrong with a box."""
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', card(page, name))
    assert 1 <= len(pictures) <= MAX_PICTURES
    with Image.open(io.BytesIO(base64.b64decode(pictures[0]))) as picture:
        assert max(picture.size) >= 250
        assert np.asarray(picture).std() > 5


def test_what_cannot_be_drawn_is_described_as_text(page: str) -> None:
    shown = card(page, "annotation_category_unknown")
    assert "<img" not in shown
    assert "category_id 99" in shown


def test_images_that_are_gone_leave_their_findings(faulty: FaultyDataset, tmp_path: Path) -> None:
    """The examination itself opens no image, so the page should not need them either."""
    shutil.copytree(faulty.index, tmp_path / "index")
    write_json(tmp_path / "index" / "locations.json", {name: str(tmp_path) for name in ("train", "val")})
    write_page(examine_dataset(tmp_path / "index", PreprocessConfig()), tmp_path / "doctor.html", title="gone")
    page = (tmp_path / "doctor.html").read_text()
    assert "data:image/jpeg" not in page
    assert "annotation_repeated" in page


def test_as_many_classes_as_lvis_has(dataset: Path, tmp_path: Path) -> None:
    """Bars by name would make a chart of ten thousand pixels, and a page too long to read."""
    shutil.copytree(dataset, tmp_path / "dataset")
    values = read_json(dataset / REPORT)
    unused = {"objects": {"train": 0, "val": 0}, "images": {"train": 0, "val": 0}}
    values["classes"] += [{"name": f"$class {k} _", "id": k + 6, **unused} for k in range(1198)]
    write_json(tmp_path / "dataset" / REPORT, values)
    examination = examine_dataset(tmp_path / "dataset", PreprocessConfig())
    assert {finding.name: finding.count for finding in examination.findings}["class_unused"] == 1198
    write_page(examination, tmp_path / "doctor.html", title="many")
    page = (tmp_path / "doctor.html").read_text()
    assert len(re.findall(r'<td data-value="\$class', page)) == 1198
    assert len(page) < 10 << 20
    for content in re.findall(r'src="data:image/png;base64,([^"]*)"', page):
        with Image.open(io.BytesIO(base64.b64decode(content))) as chart:
            assert chart.height < 1200


def test_the_terminal_shows_a_block_for_every_finding(faulty: FaultyDataset) -> None:
    """So that a log can be searched; and a class name with markup in it is shown as it is."""
    stream = io.StringIO()
    print_report(faulty.examination.report, faulty.examination.findings, Console(file=stream, width=1000))
    lines = stream.getvalue().splitlines()
    for finding in faulty.examination.findings:
        (line,) = [line for line in lines if line.startswith(f"{finding.kind.severity} {finding.name}:")]
        assert all(f"{count:,}" in line for count in finding.counts.values())
        assert finding.kind.meaning[1:] in lines[lines.index(line) + 1]
    assert any(HOSTILE in line for line in lines)
    assert re.search(r"\d+ errors, \d+ warnings, \d+ notes", lines[-1])


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_report_fits_a_narrow_terminal(faulty: FaultyDataset, width: int) -> None:
    """Findings were rows of a table: at 80 columns a column of meanings was ten characters wide."""
    stream = io.StringIO()
    print_report(faulty.examination.report, faulty.examination.findings, Console(file=stream, width=width))
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for finding in faulty.examination.findings:
        assert f"{finding.kind.severity} {finding.name}:" in text.replace("\n", " ")
        assert "".join(finding.kind.meaning[1:].split()) in "".join(text.split())
