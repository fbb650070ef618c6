"""`codetr compare`: folders and files, what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codetr.evaluation.config import EvaluateConfig
from codetr.evaluation.report.comparison_page import PARTS
from codetr.steps.evaluate import evaluate
from tests.support.command import call
from tests.support.evaluation.evaluation_sets import random_set
from tests.support.models.small_models import masked, write_dataset, write_model

pytestmark = pytest.mark.slow

CONFIG = EvaluateConfig(workers=0, pictures=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two evaluations of one dataset, and one of another."""
    folder = tmp_path_factory.mktemp("compare")
    model = write_model(folder / "model")
    other = write_model(folder / "masked", **masked())
    dataset, fewer = write_dataset(folder / "data", 6), write_dataset(folder / "fewer", 3)
    evaluate(CONFIG, model, dataset, folder / "old")
    evaluate(CONFIG, other, dataset, folder / "new")
    evaluate(CONFIG, model, fewer, folder / "elsewhere")
    return folder


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """An annotation file and two result files."""
    ground_truth, found = random_set(0)
    values = (ground_truth, found, found[::2])
    paths = (tmp_path / "truth.json", tmp_path / "old.json", tmp_path / "new.json")
    for path, value in zip(paths, values, strict=True):
        path.write_text(json.dumps(value))
    return paths


def test_folders_of_evaluations_are_compared(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    code, out, _ = call(capsys, "compare", folder / "old", folder / "new", "--resamples", 20, "-o", tmp_path / "out")
    assert code == 0
    assert out.splitlines()[0].split() == ["old", "new", "difference", "p"]
    assert out.splitlines()[1].startswith("AP ")
    assert str(tmp_path / "out" / "report.html") in out
    written = json.loads((tmp_path / "out" / "compare.json").read_text())
    metrics = [json.loads((folder / name / "metrics.json").read_text()) for name in ("old", "new")]
    for row in written["summary"]:
        assert [row[side]["value"] for side in ("first", "second")] == pytest.approx([m[row["name"]] for m in metrics])
    again, _, _ = call(capsys, "compare", folder / "old", folder / "old", "--resamples", 20, "-o", tmp_path / "out")
    assert again == 0, "an earlier comparison is replaced"


def test_result_files_are_compared(capsys: pytest.CaptureFixture[str], files: tuple[Path, Path, Path]) -> None:
    truth, old, new = files
    code, out, _ = call(capsys, "compare", old, new, "--annotations", truth, "--resamples", 50)
    assert code == 0
    assert "12 images, 50 bootstrap samples, 95 % confidence intervals" in out


def test_what_cannot_be_compared_is_refused(
    capsys: pytest.CaptureFixture[str], folder: Path, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """Each names the folder or file and what to do; none is a traceback, and none writes anything."""
    truth, old, new = files
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("")
    for arguments, message in (
        ((folder / "old", folder / "elsewhere"), "the evaluations are of different images or annotations"),
        ((folder / "old", folder / "new", "--masks"), "this evaluation has no mask metrics"),
        ((folder / "old", folder / "model"), "is a folder of kind 'model'"),
        ((old, new), "--annotations instances_val2017.json"),
        ((old, folder / "old", "--annotations", truth), "is a folder, expected a COCO result file"),
        ((old, new, "--annotations", truth, "-o", tmp_path / "photos"), "is not empty and no earlier comparison"),
    ):
        code, out, err = call(capsys, "compare", *arguments)
        assert (code, out) == (2, "")
        assert message in err
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]
    assert set(PARTS) & {path.name for path in tmp_path.iterdir()} == set()
