"""The repaired copy: without the faults, otherwise the same, and every change on record."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.config import PreprocessConfig
from codetr.doctor.changes import CHANGES
from codetr.doctor.examination import Examination, examine_dataset
from codetr.doctor.repair import RepairableFile, repair
from tests.doctor.conftest import FaultyDataset
from tests.support.data.faulty_dataset import index_files


@pytest.fixture(scope="module")
def copy(faulty: FaultyDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repaired") / "copy"
    repair(faulty.files, faulty.index, folder)
    return folder


def changes(copy: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (copy / CHANGES).read_text().splitlines()]


def test_the_copy_has_none_of_the_repaired_faults(faulty: FaultyDataset, copy: Path, tmp_path: Path) -> None:
    images = {split: faulty.raw / split / "images" for split in ("train", "val")}
    index_files(tmp_path / "index", **{split: (copy / f"{split}.json", images[split]) for split in images})
    again = examine_dataset(tmp_path / "index", PreprocessConfig())
    assert [finding.name for finding in again.findings if finding.kind.fix] == []
    # What needs a decision is not decided.
    assert {"box_of_two_classes", "segmentation_missing", "image_nearly_leaked"} <= {f.name for f in again.findings}


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_original_and_the_changes_give_the_copy(faulty: FaultyDataset, copy: Path, split: str) -> None:
    """So the list is complete, and whoever disagrees with a change can take it back."""
    content = json.loads(faulty.files[split].source.annotations.read_text())
    removed: set[tuple[str, int]] = set()
    for change in changes(copy):
        if change["split"] != split:
            continue
        entry = content[change["list"]][change["position"]]
        assert entry["id"] == change["id"]
        assert change["findings"]
        if change["action"] == "removed":
            assert change["before"] == entry
            removed.add((change["list"], change["position"]))
        else:
            assert entry.get(change["field"]) == change["before"]
            entry[change["field"]] = change["after"]
    for name in ("images", "annotations", "categories"):
        content[name] = [entry for k, entry in enumerate(content[name]) if (name, k) not in removed]
    assert json.loads((copy / f"{split}.json").read_text()) == content


def test_every_fault_is_answered_by_a_change(faulty: FaultyDataset, copy: Path) -> None:
    made = {(finding, change["action"]) for change in changes(copy) for finding in change["findings"]}
    findings = [finding for finding in faulty.examination.findings if finding.kind.fix]
    assert {(finding.name, finding.kind.fix) for finding in findings} <= made


def test_train_loses_what_val_has_too(copy: Path) -> None:
    """Otherwise, results on val would no longer be comparable with earlier ones."""
    leaked = [change for change in changes(copy) if change["findings"] == ["image_leaked"]]
    assert {change["split"] for change in leaked} == {"train"}
    assert {change["list"] for change in leaked} == {"images", "annotations"}
    assert "leak.png" in {image["file_name"] for image in json.loads((copy / "val.json").read_text())["images"]}


def test_what_lvis_files_say_wrongly_is_taken_out(tmp_path: Path) -> None:
    """And nothing else: the lists decide what counts as a false alarm."""
    Image.new("RGB", (80, 60)).save(tmp_path / "0.png")
    image = {"id": 1, "file_name": "0.png", "width": 80, "height": 60}
    categories = [
        {"id": 1, "name": "a", "frequency": "x", "image_count": 7},
        {"id": 2, "name": "b", "frequency": "f", "image_count": -1},
        {"id": 3, "name": "c", "frequency": "r", "image_count": 1, "synset": "c.n.01"},
    ]
    content = {
        "images": [{**image, "neg_category_ids": [2, 9, "x"], "not_exhaustive_category_ids": [1]}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0}],
        "categories": categories,
    }
    file = tmp_path / "lvis.json"
    file.write_text(json.dumps(content))
    found = {}
    for name, source in {"first": file, "again": tmp_path / "copy" / "train.json"}.items():
        folder = tmp_path / name
        files = index_files(folder, train=(source, tmp_path))
        found[name] = {f.name: f.count for f in examine_dataset(folder, PreprocessConfig()).findings if f.kind.fix}
        if name == "first":
            repair(files, folder, tmp_path / "copy")
    assert found == {"first": {"category_frequency_invalid": 2, "image_verified_unknown": 1}, "again": {}}
    copy = json.loads((tmp_path / "copy" / "train.json").read_text())
    assert copy["images"] == [{**image, "neg_category_ids": [2], "not_exhaustive_category_ids": [1]}]
    assert copy["categories"] == [
        {"id": 1, "name": "a", "image_count": 7},
        {"id": 2, "name": "b", "frequency": "f"},
        categories[2],
    ]
    noted = [(entry["list"], entry["field"], entry["findings"]) for entry in changes(tmp_path / "copy")]
    assert sorted(noted) == [
        ("categories", "frequency", ["category_frequency_invalid"]),
        ("categories", "image_count", ["category_frequency_invalid"]),
        ("images", "neg_category_ids", ["image_verified_unknown"]),
    ]


def test_a_folder_of_something_else_is_left_alone(faulty: FaultyDataset, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"precious")
    with pytest.raises(UserError, match="no earlier repaired copy"):
        repair(faulty.files, faulty.index, tmp_path)
    assert (tmp_path / "photo.jpg").read_bytes() == b"precious"


def test_files_added_to_a_copy_are_not_lost(faulty: FaultyDataset, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    repair(faulty.files, faulty.index, copy)
    (copy / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds 'notes\.txt', which is no part of the earlier repaired copy"):
        repair(faulty.files, faulty.index, copy)
    assert (copy / "notes.txt").read_text() == "mine"


def test_a_split_of_which_nothing_is_left_is_an_error(faulty: FaultyDataset, tmp_path: Path) -> None:
    """One file as train and as val: every image leaks."""
    file = faulty.files["val"].source.annotations
    images = faulty.raw / "val" / "images"
    files = index_files(tmp_path / "index", train=(file, images), val=(file, images))
    with pytest.raises(UserError, match="no image is left"):
        repair(files, tmp_path / "index", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_an_image_without_its_objects_is_no_background(tmp_path: Path) -> None:
    """Nothing in the copy would distinguish it any more from an image that is meant to be empty."""
    for k in range(3):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (60, 80, 3), np.uint8)).save(tmp_path / f"{k}.png")
    sound = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [10, 10, 20, 30], "area": 600, "iscrowd": 0}
    content = {
        "images": [{"id": k, "file_name": f"{k}.png", "width": 80, "height": 60} for k in range(3)],
        "annotations": [sound, {**sound, "id": 2, "image_id": 1, "bbox": [5, 5, 0, 9]}],
        "categories": [{"id": 1, "name": "a"}],
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    files = index_files(tmp_path / "index", train=(tmp_path / "train.json", tmp_path))
    repair(files, tmp_path / "index", tmp_path / "copy")
    assert json.loads((tmp_path / "copy" / "train.json").read_text()) == {
        **content,
        "images": [content["images"][0], content["images"][2]],
        "annotations": [sound],
    }
    removed = {(entry["list"], entry["id"]): entry["findings"] for entry in changes(tmp_path / "copy")}
    assert removed == {("images", 1): ["image_emptied"], ("annotations", 2): ["box_empty"]}


UNUSABLE: list[Any] = [
    {},
    "",
    [None],
    "text",
    7,
    False,
    [[10, 10] * 3],
    [[5, 5, 20, 30, 5, 5, 20, 30]],
    [[5, 5, 20, 30, 40, 5, 20, 30]],
    [[10.1, 10.1, 10.6, 10.1, 10.6, 10.6]],
    {"size": [60, 80], "counts": [4800]},
]
"""Segmentations that hold or enclose nothing."""


@pytest.mark.parametrize("segmentation", UNUSABLE, ids=str)
def test_an_object_with_a_sound_box_is_never_removed(tmp_path: Path, segmentation: Any) -> None:
    """The box was drawn around a segmentation without extent; then the object was removed for its box."""
    Image.new("RGB", (80, 60)).save(tmp_path / "0.png")
    sound = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [10, 10, 20, 30], "area": 600, "iscrowd": 0}
    content = {
        "images": [{"id": 0, "file_name": "0.png", "width": 80, "height": 60}],
        "annotations": [{**sound, "segmentation": segmentation}],
        "categories": [{"id": 1, "name": "a"}],
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    files = index_files(tmp_path / "index", train=(tmp_path / "train.json", tmp_path))
    repair(files, tmp_path / "index", tmp_path / "copy")
    copied = json.loads((tmp_path / "copy" / "train.json").read_text())
    assert copied["annotations"] == [{**sound, "segmentation": []}]
    assert [entry["field"] for entry in changes(tmp_path / "copy")] == ["segmentation"]
    assert all(entry["findings"] for entry in changes(tmp_path / "copy"))


def annotation(random: Random, identifier: int) -> dict[str, Any]:
    """An annotation of an image of 80 by 60 pixels in which anything may be wrong, in any combination."""

    def number() -> float:
        return random.choice([0, 1, -3, 40, 79.5, 85, 200, -0.5, random.uniform(-20, 100), random.uniform(0, 60)])

    polygons = [[number() for _ in range(random.choice([4, 6, 8]))] for _ in range(random.choice([1, 2]))]
    pixels = random.randint(0, 2000)
    values = {
        "id": random.choice([identifier, identifier, 0, "7", identifier - 1]),
        "image_id": random.choice([0, 1, "1", 5]),
        "category_id": random.choice([1, 2, 1.0, 9]),
        "bbox": random.choice([[number() for _ in range(4)], [10, 10, random.choice([20, 20.4]), 30], None, [1, 2, 3]]),
        "segmentation": random.choice(
            [
                polygons,
                [[10, 10, 30, 10, 30, 40, 10, 40]],
                {"size": [60, 80], "counts": [pixels, 4800 - pixels]},
                None,
                *UNUSABLE,
            ]
        ),
        "area": random.choice([number(), 600, 1e5, True, "3"]),
        "iscrowd": random.choice([0, 0, 1, True, "1"]),
    }
    return {name: value for name, value in values.items() if name == "id" or random.random() < 0.9}


def test_one_repair_is_enough_whatever_is_wrong(tmp_path: Path) -> None:
    """A box that is cut may become a copy or lose its extent, and its area with it: so repairs have an order."""
    for k in range(3):
        pixels = np.random.default_rng(k).integers(0, 256, (60, 80, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
    images = [{"id": k, "file_name": f"{k}.png", "width": 80, "height": 60} for k in range(3)]
    sound = {"id": 99, "image_id": 2, "category_id": 1, "bbox": [10, 10, 20, 30], "area": 600, "iscrowd": 0}
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]

    def examine(name: str, file: Path) -> tuple[Examination, dict[str, RepairableFile]]:
        files = index_files(tmp_path / name, train=(file, tmp_path))
        return examine_dataset(tmp_path / name, PreprocessConfig()), files

    for seed in range(25):
        random = Random(seed)
        annotations = [*(annotation(random, k + 1) for k in range(20)), sound]
        file = tmp_path / f"{seed}.json"
        file.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
        examination, files = examine(f"{seed}", file)
        assert any(finding.kind.fix for finding in examination.findings)
        repair(files, examination.dataset, tmp_path / f"{seed}-copy")
        again, _ = examine(f"{seed}-again", tmp_path / f"{seed}-copy" / "train.json")
        assert [finding.name for finding in again.findings if finding.kind.fix] == [], f"seed {seed}"


def write_corners(folder: Path, *, relative: bool) -> dict[str, Any]:
    """Three images with an object each, whose boxes are two corners, in pixels or in shares; returns the sound file."""
    for k in range(3):
        pixels = np.random.default_rng(k).integers(0, 256, (60, 80, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    sound = {
        "images": [{"id": k, "file_name": f"{k}.png", "width": 80, "height": 60} for k in range(3)],
        "annotations": [
            {"id": k + 1, "image_id": k, "category_id": 1, "bbox": [40, 20, 16, 30], "area": 480, "iscrowd": 0}
            for k in range(3)
        ],
        "categories": [{"id": 1, "name": "a"}],
    }
    width, height = (80, 60) if relative else (1, 1)
    box = [40 / width, 20 / height, 56 / width, 50 / height]
    annotations = [{**value, "bbox": box, "area": box[2] * box[3]} for value in sound["annotations"]]
    (folder / "train.json").write_text(json.dumps({**sound, "annotations": annotations}))
    return sound


@pytest.mark.parametrize("relative", [False, True])
def test_boxes_in_another_format_are_converted_and_never_removed(tmp_path: Path, relative: bool) -> None:
    """The repair removed 298 of 298 annotations, and exited with 0."""
    sound = write_corners(tmp_path, relative=relative)
    name = "relative_xyxy" if relative else "xyxy"
    files = index_files(tmp_path / "index", train=(tmp_path / "train.json", tmp_path))
    examination = examine_dataset(tmp_path / "index", PreprocessConfig())
    assert {finding.name for finding in examination.findings if finding.kind.severity == "error"} == {
        "boxes_are_relative_corners" if relative else "boxes_are_corners"
    }
    with pytest.raises(UserError, match=f"--boxes {name}"):
        repair(files, tmp_path / "index", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    files = index_files(tmp_path / "again", name, train=(tmp_path / "train.json", tmp_path))
    repair(files, tmp_path / "again", tmp_path / "copy")
    converted = json.loads((tmp_path / "copy" / "train.json").read_text())
    for found, expected in zip(converted["annotations"], sound["annotations"], strict=True):
        assert found["bbox"] == pytest.approx(expected["bbox"])
        assert found["area"] == pytest.approx(expected["area"])
    assert {entry["field"] for entry in changes(tmp_path / "copy")} == {"bbox", "area"}
    assert all(entry["findings"] for entry in changes(tmp_path / "copy"))


def test_a_copy_without_any_annotation_is_an_error(tmp_path: Path) -> None:
    write_corners(tmp_path, relative=False)
    content = json.loads((tmp_path / "train.json").read_text())
    for value in content["annotations"]:
        value["bbox"] = [1, 1, 0, 5]
    content["images"].append({"id": 9, "file_name": "0.png", "width": 80, "height": 60})
    (tmp_path / "train.json").write_text(json.dumps(content))
    files = index_files(tmp_path / "index", train=(tmp_path / "train.json", tmp_path))
    with pytest.raises(UserError, match="no annotation is left"):
        repair(files, tmp_path / "index", tmp_path / "copy")
