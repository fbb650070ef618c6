"""CSV and label files: their names, and that what is written can be read again."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path, PurePath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codetr
from codetr.core.errors import UserError
from codetr.data.formats.yolo_rows import to_annotation
from codetr.data.segmentation import decode
from codetr.inference.detection_files import LabelNames, listed_objects, open_detection_files
from codetr.inference.predict_files import PredictedFiles, PredictedImage, predict, write_predictions
from tests.support.data.clips import write_clip
from tests.support.models.finder import Finder, scene
from tests.support.models.small_models import NAMES, write_images, write_model

BOXES = ((5, 10, 45, 30), (50, 5, 70, 35), (20, 32, 30, 38))


@pytest.fixture
def result() -> codetr.Result:
    return Finder().predict(scene(40, 80, *BOXES))


def without_masks(result: codetr.Result) -> codetr.Result:
    return replace(result, detections=replace(result.detections, masks=None))


def label_rows(folder: Path, result: codetr.Result, kind: str) -> list[str]:
    with open_detection_files(folder, [kind]) as (file,):
        file.add("a.jpg", result, listed_objects(result), PurePath("sub/a.txt"))
    return (folder / "labels/sub/a.txt").read_text().splitlines()


def test_boxes_of_label_files_are_those_that_prepare_reads(result: codetr.Result, tmp_path: Path) -> None:
    """The usual reason for these files is to correct them and train on them."""
    rows = label_rows(tmp_path, without_masks(result), "yolo")
    for row, found in zip(rows, result, strict=True):
        annotation = to_annotation(row, 40, 80)
        assert annotation is not None
        assert annotation["category_id"] == found.label
        x, y, width, height = annotation["bbox"]
        assert (x, y, x + width, y + height) == pytest.approx(found.box, abs=1e-3)


def test_masks_become_polygons(result: codetr.Result, tmp_path: Path) -> None:
    for row, found in zip(label_rows(tmp_path, result, "yolo"), result, strict=True):
        annotation = to_annotation(row, 40, 80)
        assert annotation is not None
        assert found.mask is not None
        assert np.array_equal(decode(annotation["segmentation"], 40, 80), found.mask)


@pytest.mark.parametrize("masks", [False, True])
def test_scores_are_at_the_end_of_rows(result: codetr.Result, tmp_path: Path, masks: bool) -> None:
    result = result if masks else without_masks(result)
    plain, scored = (label_rows(tmp_path / kind, result, kind) for kind in ("yolo", "yolo-score"))
    for row, longer, found in zip(plain, scored, result, strict=True):
        assert longer.startswith(f"{row} ")
        assert float(longer.split()[-1]) == pytest.approx(found.score, abs=1e-5)


def test_boxes_beyond_the_image_are_clipped_and_those_outside_left_out(result: codetr.Result, tmp_path: Path) -> None:
    """Values outside of 0..1 make readers refuse the image."""
    moved = without_masks(result)
    moved.detections.boxes[0] -= 20
    moved.detections.boxes[1] += 200
    rows = label_rows(tmp_path, moved, "yolo")
    assert len(rows) == 2
    assert [float(value) for value in rows[0].split()[1:]] == pytest.approx([25 / 160, 10 / 80, 25 / 80, 10 / 40])


def test_an_image_without_detections_has_an_empty_file(result: codetr.Result, tmp_path: Path) -> None:
    """It is background, not an image that was forgotten."""
    assert label_rows(tmp_path, result[[]], "yolo") == []


def test_a_table_holds_any_names(result: codetr.Result, tmp_path: Path) -> None:
    """Commas, quotes, line breaks and bytes that are not Unicode in names of files and classes."""
    names = ('a,"b"', "two\nlines", "=1+1")
    files = ["a, b.jpg", 'quo"te.jpg', "new\nline.jpg", "\udcff.jpg"]
    with open_detection_files(tmp_path, ["csv"]) as (table,):
        for file in files:
            named = replace(result, class_names=names)
            table.add(file, named, listed_objects(named), PurePath("a.txt"))
    with (tmp_path / "detections.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows[::3]] == [*files[:3], "\\udcff.jpg"]
    for row, found in zip(rows, result, strict=False):
        assert row["name"] == names[found.label]
        assert float(row["score"]) == pytest.approx(found.score)
        x, y, width, height = (float(row[name]) for name in ("x", "y", "width", "height"))
        assert (x, y, x + width, y + height) == pytest.approx(found.box)
        assert row["frame"] == row["time"] == ""


PARTS = st.sampled_from(["a", "A", "b", "a.txt", "b.txt", "00002_a", "x" * 252, "日" * 84])
FILES = st.lists(st.tuples(st.lists(PARTS, max_size=2), PARTS, st.sampled_from([".jpg", ".png", ""])), max_size=12)


@settings(max_examples=60, deadline=None)
@given(FILES)
def test_label_files_never_replace_each_other(files: list[tuple[list[str], str, str]]) -> None:
    """Images of one name in two folders, of two suffixes, or whose folder has the name of a label file."""
    names = LabelNames()
    given_names = [PurePath(*folders, f"{stem}{suffix}") for folders, stem, suffix in files]
    taken = [names.of_image(name, number) for number, name in enumerate(given_names, start=1)]
    taken.append(names.of_video("a", 2) / "000000.txt")
    keys = [str(name).casefold() for name in taken]
    assert len(set(keys)) == len(keys)
    for a, b in combinations(map(PurePath, keys), 2):
        assert a not in b.parents
        assert b not in a.parents
    assert all(len(name.name.encode()) <= 255 for name in taken)


def test_a_label_file_has_the_name_of_its_image() -> None:
    """Programs that read them look for this name."""
    names = LabelNames()
    labels = {"a b.jpg": "a b.txt", "sub/a b.jpg": "sub/a b.txt", "日本.tar.png": "日本.tar.txt", ".jpg": ".jpg.txt"}
    for name, expected in labels.items():
        assert str(names.of_image(PurePath(name), 7)) == expected


def test_the_files_of_a_run_are_listed(tmp_path: Path) -> None:
    """Which label file belongs to which image, also where two images have one name."""
    model = write_model(tmp_path / "model")
    write_images(tmp_path / "in/a", 1)
    write_images(tmp_path / "in/b", 1)
    (tmp_path / "in/a/0.gif").write_bytes((tmp_path / "in/a/0.png").read_bytes())
    clip = write_clip(tmp_path / "clip.mp4", 2)
    out = tmp_path / "out"
    result = predict(model, [tmp_path / "in", clip], out, threshold=0.0, formats=["csv", "yolo"])
    assert [image.labels for image in result.images] == ["labels/a/0.txt", "labels/00002_0.txt", "labels/b/0.txt"]
    for image in result.images:
        assert len((out / str(image.labels)).read_text().splitlines()) == len(image.detections) > 0
    assert result.videos[0].labels == "labels/00001_clip"
    assert sorted(path.name for path in (out / "labels/00001_clip").iterdir()) == ["000000.txt", "000001.txt"]
    with (out / "detections.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == result.objects
    assert rows[-1]["file"] == str(clip)
    assert float(rows[-1]["frame"]) == 1
    written = json.loads((out / "predictions.json").read_text())
    assert [image["labels"] for image in written["images"]] == [image.labels for image in result.images]
    assert predict(model, [tmp_path / "in/a/0.png"], out).images[0].labels is None
    assert {path.name for path in out.iterdir()} == {"predictions.json", "pictures"}


def test_an_unknown_format_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no format 'yolov8'. Did you mean 'yolo'\? Formats: csv, yolo, yolo-score"):
        predict(tmp_path, [tmp_path], tmp_path / "out", formats=["csv", "yolov8"])
    with pytest.raises(UserError, match="'yolo' and 'yolo-score' write the same files"):
        predict(tmp_path, [tmp_path], tmp_path / "out", formats=["yolo", "yolo-score"])


def test_predictions_are_json_with_and_without_images(tmp_path: Path) -> None:
    """It is written piece by piece."""
    for count in range(3):
        images = [PredictedImage(f"{k}\n.jpg", 1, 2, [], "p") for k in range(count)]
        write_predictions(tmp_path / "a.json", PredictedFiles("r", list(NAMES), 0.5, images))
        values = json.loads((tmp_path / "a.json").read_text())
        assert list(values) == ["recipe", "classes", "threshold", "images", "videos", "skipped"]
        assert [image["file"] for image in values["images"]] == [image.file for image in images]
