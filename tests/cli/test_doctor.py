"""The command doctor: what it examines, what it writes, and with which code it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codetr.data.doctor.repair import CHANGES
from codetr.data.sample import ANNOTATIONS, draw_sample_data
from codetr.manifest import Manifest
from tests.cli.command import call


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "shapes"
    draw_sample_data(folder, 12, seed=1, sides=(48, 64))
    return folder


def spoilt(shapes: Path, file: Path, **changed: object) -> Path:
    """The training annotations with the first one changed."""
    content = json.loads((shapes / "train" / ANNOTATIONS).read_text())
    content["annotations"][0].update(changed)
    file.write_text(json.dumps(content))
    return file


def test_a_file_before_it_is_prepared(capsys, shapes, tmp_path):
    report, page = tmp_path / "doctor.json", tmp_path / "doctor.html"
    file, images = shapes / "train" / ANNOTATIONS, shapes / "train" / "images"
    code, out, _ = call(capsys, "doctor", file, "--images", images, "--json", report, "--html", page)
    assert code == 0
    assert "circle" in out
    assert str(page) in out
    assert json.loads(report.read_text())["severities"]["error"] == 0
    assert "<h1>annotations.json</h1>" in page.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["doctor.html", "doctor.json"]


@pytest.mark.parametrize(
    ("changed", "level", "code"),
    [
        ({"bbox": [1, 1, 0, 5]}, "error", 1),
        ({"bbox": [1, 1, 0, 5]}, "never", 0),
        ({"area": 1e6}, "error", 0),
        ({"area": 1e6}, "warning", 1),
        ({}, "warning", 0),
    ],
)
def test_the_exit_code_says_how_grave_it_is(capsys, shapes, tmp_path, changed, level, code):
    """Continuous integration goes by it: an error ends the job, a note never does."""
    file = spoilt(shapes, tmp_path / "train.json", **changed)
    found, _, _ = call(capsys, "doctor", file, "--images", shapes / "train" / "images", "--fail-on", level)
    assert found == code


def test_the_repaired_copy_is_shown(capsys, shapes, tmp_path):
    file, copy = spoilt(shapes, tmp_path / "train.json", bbox=[1, 1, 0, 5]), tmp_path / "copy"
    code, out, _ = call(capsys, "doctor", "--train", file, "--images", shapes / "train" / "images", "--fix", copy)
    assert code == 1
    assert "Repaired" in out
    assert sorted(path.name for path in copy.iterdir()) == [CHANGES, "train.json"]
    code, _, _ = call(capsys, "doctor", copy / "train.json", "--images", shapes / "train" / "images")
    assert code == 0


def test_a_recipe_decides_what_counts_as_small(capsys, shapes, tmp_path):
    small = {}
    for name, options in {"default": (), "recipe": ("--recipe", "tiny")}.items():
        file = tmp_path / f"{name}.json"
        source = shapes / "train" / ANNOTATIONS, "--images", shapes / "train" / "images"
        assert call(capsys, "doctor", *source, *options, "--json", file)[0] == 0
        values = json.loads(file.read_text())
        small[name] = values["input"]["short_side"]
    assert small["default"] == 800
    assert small["recipe"] < 800


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fail-on", "error"], "nothing to examine is named"),
        (["DATASET", "--train", "FILE"], "a dataset and annotation files"),
        (["FILE", "--train", "FILE"], "is given besides --train"),
        (["DATASET", "--fix", "copy"], "needs annotation files"),
        (["FILE", "--images", "nowhere"], "no such image folder"),
        (["FILE", "--fail-on", "notes"], "--fail-on: is 'notes'"),
        (["--val", "FILE"], "no annotations to train on are named"),
        (["FILE", "--val-images", "nowhere"], "is given without --val"),
        (["nowhere"], "there is no such file or folder"),
    ],
)
def test_what_cannot_be_examined_is_refused(capsys, shapes, tmp_path, options, message):
    """With code 2, so that a script can tell a wrong call from a bad dataset."""
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    Manifest(kind="dataset", files={}).write(dataset)
    places = {"DATASET": dataset, "FILE": shapes / "train" / ANNOTATIONS, "nowhere": tmp_path / "nowhere"}
    given = [places.get(option, option) for option in options]
    code, _, err = call(capsys, "doctor", *given)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
