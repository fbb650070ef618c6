"""The command doctor: what it examines, what it writes, and with which code it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from codetr.core.manifest import Manifest
from codetr.data.ingest.summary import REPORT
from codetr.data.synthetic import ANNOTATIONS, draw_sample_data
from codetr.doctor.changes import CHANGES
from tests.support.command import call
from tests.support.data.dataset_trees import write_voc, write_yolo


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "shapes"
    draw_sample_data(folder, 12, seed=1, sides=(48, 64))
    return folder


def with_change(shapes: Path, file: Path, **changed: object) -> Path:
    """The training annotations with the first one changed."""
    content = json.loads((shapes / "train" / ANNOTATIONS).read_text())
    content["annotations"][0].update(changed)
    file.write_text(json.dumps(content))
    return file


def test_a_file_before_it_is_prepared(capsys: pytest.CaptureFixture[str], shapes: Path, tmp_path: Path) -> None:
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
def test_the_exit_code_follows_the_severity(
    capsys: pytest.CaptureFixture[str], shapes: Path, tmp_path: Path, changed: dict[str, object], level: str, code: int
) -> None:
    """Continuous integration goes by it: an error ends the job, a note never does."""
    file = with_change(shapes, tmp_path / "train.json", **changed)
    found, _, _ = call(capsys, "doctor", file, "--images", shapes / "train" / "images", "--fail-on", level)
    assert found == code


def test_the_repaired_copy_is_shown(capsys: pytest.CaptureFixture[str], shapes: Path, tmp_path: Path) -> None:
    file, copy = with_change(shapes, tmp_path / "train.json", bbox=[1, 1, 0, 5]), tmp_path / "copy"
    code, out, _ = call(capsys, "doctor", "--train", file, "--images", shapes / "train" / "images", "--fix", copy)
    assert code == 1
    assert "Repaired" in out
    assert sorted(path.name for path in copy.iterdir()) == [CHANGES, "train.json"]
    code, _, _ = call(capsys, "doctor", copy / "train.json", "--images", shapes / "train" / "images")
    assert code == 0


def test_half_a_download_is_not_repaired(capsys: pytest.CaptureFixture[str], shapes: Path, tmp_path: Path) -> None:
    """`prepare` refuses it; a repaired copy without the missing half would pass for a dataset."""
    images = tmp_path / "images"
    shutil.copytree(shapes / "train" / "images", images)
    for path in sorted(images.iterdir())[1:]:
        path.unlink()
    named = shapes / "train" / ANNOTATIONS, "--images", images
    assert call(capsys, "doctor", *named)[0] == 1
    code, _, error = call(capsys, "doctor", *named, "--fix", tmp_path / "copy")
    assert code == 2
    assert "images cannot be used (image_missing" in error
    assert not (tmp_path / "copy").exists()
    params = tmp_path / "params.yaml"
    params.write_text("prepare: {train: {annotations: a.json}, max_lost_images: 1.0}")
    code, _, _ = call(capsys, "doctor", "--train", named[0], *named[1:], "--params", params, "--fix", tmp_path / "copy")
    assert code == 1
    assert len(json.loads((tmp_path / "copy" / "train.json").read_text())["images"]) == 1


def test_images_are_read_by_the_settings_of_prepare(
    capsys: pytest.CaptureFixture[str], shapes: Path, tmp_path: Path
) -> None:
    """`--fix` would remove the images that `prepare` is set to read, and reports would show others than training."""
    params, images = tmp_path / "params.yaml", shapes / "train" / "images"
    params.write_text("prepare: {train: {annotations: a.json}, max_pixels: 10}")
    _, out, _ = call(capsys, "doctor", "--train", shapes / "train" / ANNOTATIONS, "--images", images)
    assert "image_unreadable" not in out
    named = "--train", shapes / "train" / ANNOTATIONS, "--images", images
    code, out, _ = call(capsys, "doctor", *named, "--params", params)
    assert code == 1
    assert "image_unreadable" in out


@pytest.mark.parametrize("option", ["--json", "--html", "--fix"])
def test_what_is_examined_is_never_written_over(
    capsys: pytest.CaptureFixture[str], shapes: Path, tmp_path: Path, option: str
) -> None:
    """A slip of the hand, or a repaired copy that is repaired once more, must not cost the annotations."""
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / CHANGES).touch()
    file = with_change(shapes, folder / "train.json")
    before = file.read_text()
    target = folder if option == "--fix" else file
    code, _, error = call(capsys, "doctor", file, "--images", shapes / "train" / "images", option, target)
    assert code == 2
    assert "would replace" in error
    assert file.read_text() == before


def test_a_report_cannot_be_a_folder(capsys: pytest.CaptureFixture[str], shapes: Path, tmp_path: Path) -> None:
    file, images = shapes / "train" / ANNOTATIONS, shapes / "train" / "images"
    code, _, error = call(capsys, "doctor", file, "--images", images, "--html", tmp_path)
    assert code == 2
    assert "is a folder, expected a file to write to" in error


@pytest.fixture(scope="module")
def trees(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The drawn dataset as Pascal VOC and as YOLO, by what is named on the command line."""
    folder = tmp_path_factory.mktemp("trees")
    for split in ("train", "val"):
        content = json.loads((shapes / split / ANNOTATIONS).read_text())
        write_voc(content, shapes / split / "images", folder / "voc", split)
        write_yolo(content, shapes / split / "images", folder / "yolo", split)
    return {"voc": folder / "voc", "yolo": folder / "yolo" / "data.yaml"}


@pytest.mark.parametrize("form", ["voc", "yolo"])
def test_other_formats_are_read_as_prepare_reads_them(
    capsys: pytest.CaptureFixture[str], trees: dict[str, Path], tmp_path: Path, form: str
) -> None:
    """A dataset that is examined otherwise than it is prepared later is not the one that is trained on."""
    report, page = tmp_path / "doctor.json", tmp_path / "doctor.html"
    both = "--train", trees[form], "--val", trees[form]
    code, _, _ = call(capsys, "doctor", *both, "--json", report, "--html", page)
    assert code == 0
    assert f"<h1>{trees[form].name}</h1>" in page.read_text()
    assert call(capsys, "prepare", *both, "-o", tmp_path / "dataset")[0] == 0
    prepared = tmp_path / "prepared.json"
    assert call(capsys, "doctor", tmp_path / "dataset", "--json", prepared)[0] == 0
    assert json.loads(report.read_text()) == json.loads(prepared.read_text())
    assert set(json.loads(report.read_text())["splits"]) == {"train", "val"}
    code, _, _ = call(capsys, "doctor", trees[form], "--json", report)
    assert code == 0
    assert json.loads(report.read_text()) == json.loads(prepared.read_text())  # val is listed


def test_several_sources_are_examined_as_one_split(
    capsys: pytest.CaptureFixture[str], shapes: Path, trees: dict[str, Path], tmp_path: Path
) -> None:
    report = tmp_path / "doctor.json"
    coco, images = shapes / "train" / ANNOTATIONS, shapes / "train" / "images"
    first = "--train", coco, "--train-images", images
    second = "--train", trees["voc"], "--train-images", trees["voc"] / "JPEGImages"
    code, _, _ = call(capsys, "doctor", *first, *second, "--json", report, "--html", tmp_path / "doctor.html")
    assert code == 0
    values = json.loads(report.read_text())
    count = len(json.loads(coco.read_text())["images"])
    assert values["splits"]["train"]["images"] == 2 * count
    found = {entry["name"]: entry for entry in values["findings"]}
    # Once, not also as files of equal content, and with both files.
    assert found["image_in_several_sources"]["count"] == count
    assert "image_content_repeated" not in found
    assert "'1/" in (text := found["image_in_several_sources"]["examples"][0]["text"])
    assert "and '0/" in text


def test_a_folder_of_annotation_files_is_no_dataset(
    capsys: pytest.CaptureFixture[str], shapes: Path, trees: dict[str, Path], tmp_path: Path
) -> None:
    """Whoever has just unpacked a dataset names its folder, and needs to know what to name instead."""
    code, _, error = call(capsys, "doctor", shapes)
    file = shapes / "train" / ANNOTATIONS
    assert code == 2
    assert f"codetr doctor {file} --images FOLDER" in " ".join(error.split())
    code, _, error = call(capsys, "doctor", trees["yolo"].parent)
    assert f"codetr doctor {trees['yolo']}`" in error
    code, _, error = call(capsys, "doctor", tmp_path)
    assert code == 2
    assert "made by `codetr prepare`" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["voc"], "train is Pascal VOC"),
        (["yolo"], "train is YOLO"),
        (["--train", "coco", "--train", "coco"], "train has 2 sources"),
    ],
)
def test_what_cannot_be_repaired_is_refused_before_it_is_read(
    capsys: pytest.CaptureFixture[str],
    shapes: Path,
    trees: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    """Not after every image was opened; and no copy is begun."""
    monkeypatch.chdir(shapes / "train" / "images")
    paths = {**trees, "coco": shapes / "train" / ANNOTATIONS}
    given = [paths.get(option, option) for option in options]
    code, out, err = call(capsys, "doctor", *given, "--fix", tmp_path / "copy")
    assert code == 2
    assert message in err
    assert "circle" not in out
    assert not (tmp_path / "copy").exists()


def test_a_recipe_decides_what_counts_as_small(
    capsys: pytest.CaptureFixture[str], shapes: Path, tmp_path: Path
) -> None:
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
        (["--fail-on", "error"], "no dataset is named"),
        (["DATASET", "--train", "FILE"], "both a dataset and annotation files are named"),
        (["FILE", "--train", "FILE"], "is given in addition to --train"),
        (["DATASET", "--fix", "copy"], "needs annotation files"),
        (["FILE", "--images", "nowhere"], "no such image folder"),
        (["FILE", "--fail-on", "notes"], "Invalid value for '--fail-on'"),
        (["--val", "FILE"], "no annotations to train on are named"),
        (["FILE", "--val-images", "nowhere"], "needs --val"),
        (["FILE", "--train-images", "a", "--train-images", "b"], "is given 2 times for 1 --train"),
        (["nowhere"], "there is no such file or folder"),
    ],
)
def test_what_cannot_be_examined_is_refused(
    capsys: pytest.CaptureFixture[str], shapes: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    """With code 2, so that a script can tell a wrong call from a bad dataset."""
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    Manifest(kind="dataset", files={}).write(dataset)
    (dataset / REPORT).write_text("{}")
    paths = {"DATASET": dataset, "FILE": shapes / "train" / ANNOTATIONS, "nowhere": tmp_path / "nowhere"}
    given = [paths.get(option, option) for option in options]
    code, _, err = call(capsys, "doctor", *given)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_a_folder_of_xml_files_with_its_images(
    capsys: pytest.CaptureFixture[str], shapes: Path, tmp_path: Path
) -> None:
    """It was taken for a dataset that `prepare` wrote."""
    content = json.loads((shapes / "val" / ANNOTATIONS).read_text())
    write_voc(content, shapes / "val" / "images", tmp_path / "voc", "train")
    code, out, _ = call(capsys, "doctor", tmp_path / "voc" / "Annotations", "--images", tmp_path / "voc" / "JPEGImages")
    assert code == 0
    assert "circle" in out
