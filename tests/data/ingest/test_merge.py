"""Several sources in one split: equal classes are merged, and every record keeps its image, class and box."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.core.manifest import Manifest
from codetr.data.config import SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import read_report
from codetr.steps.prepare import prepare
from tests.support.data.dataset_trees import write_voc, write_yolo


def write(folder: Path, categories: dict[int, str], images: dict[int, str], first: int = 1) -> SourceConfig:
    """A COCO source of 40x30 images by id, whose colour is their file's name, with an object of each category."""
    (folder / "images").mkdir(parents=True)
    for name in images.values():
        Image.new("RGB", (40, 30), (sum(name.encode()) % 256, 80, 3)).save(folder / "images" / name)
    annotations = [
        {
            "image_id": image,
            "category_id": category,
            "bbox": [image % 7, category % 9, 10, 12],
            "area": 120,
            "iscrowd": 0,
        }
        for image in images
        for category in categories
    ]
    content = {
        "images": [{"id": k, "file_name": name, "height": 30, "width": 40} for k, name in images.items()],
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, first)],
        "categories": [{"id": k, "name": name} for k, name in categories.items()],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return SourceConfig(annotations=str(folder / "annotations.json"), images=str(folder / "images"))


def original(source: SourceConfig) -> dict[str, Any]:
    return json.loads(Path(source.annotations).read_text())


@pytest.fixture
def first(tmp_path: Path) -> SourceConfig:
    return write(tmp_path / "first", {1: "cat", 7: "dog"}, {1: "a.png", 2: "b.png"})


@pytest.fixture
def second(tmp_path: Path) -> SourceConfig:
    """Other ids for known classes, a new class with a known id, an image id, file name and content of the first."""
    return write(tmp_path / "second", {2: "dog", 7: "bird", 9: "cat"}, {2: "a.png", 30: "c.png"}, first=4)


def test_classes_are_matched_by_name_and_everything_else_is_kept_apart(
    first: SourceConfig, second: SourceConfig, tmp_path: Path
) -> None:
    manifest = prepare(PrepareConfig(train=(first, second), val=(first,)), tmp_path / "dataset")
    split = Split.open(tmp_path / "dataset", "train")
    found = split.to_coco()
    assert found["categories"] == [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 10, "name": "bird"}]
    images = [(image["id"], image["file_name"]) for image in found["images"]]
    assert images == [(1, "0/a.png"), (2, "0/b.png"), (31, "1/a.png"), (30, "1/c.png")]
    folders = [Path(source.images or "") for source in (first, second) for _ in range(2)]
    assert [Path(str(split.path(i))).parent for i in range(4)] == folders
    assert all(split.record(i).read().shape == (30, 40, 3) for i in range(4))
    # Every object is still the one that its file has: image, class by name and box.
    names = {category["id"]: category["name"] for category in found["categories"]}
    paths = {image["id"]: image["file_name"] for image in found["images"]}
    objects = [(paths[entry["image_id"]], names[entry["category_id"]], entry["bbox"]) for entry in found["annotations"]]
    expected = []
    for position, source in enumerate((first, second)):
        content = original(source)
        listed_names = {category["id"]: category["name"] for category in content["categories"]}
        listed_paths = {image["id"]: f"{position}/{image['file_name']}" for image in content["images"]}
        expected += [
            (listed_paths[entry["image_id"]], listed_names[entry["category_id"]], entry["bbox"])
            for entry in content["annotations"]
        ]
    assert sorted(objects) == sorted(expected)
    assert len({entry["id"] for entry in found["annotations"]}) == len(expected)
    assert set(manifest.inputs) == {
        *(f"train.{position}.{part}" for position in (0, 1) for part in ("annotations", "images")),
        "val.annotations",
        "val.images",
    }
    assert Manifest.read(tmp_path / "dataset", "dataset", verify=True) == manifest


def test_what_was_changed_is_reported_by_source(first: SourceConfig, second: SourceConfig, tmp_path: Path) -> None:
    prepare(PrepareConfig(train=(first, second), val=(first,)), tmp_path / "dataset")
    report = read_report(tmp_path / "dataset").splits["train"]
    assert {finding.name: finding.examples for finding in report.findings} == {
        "category_id_renumbered": [
            "source 1: 'dog': 2 is now 7",
            "source 1: 'bird': 7 is now 10",
            "source 1: 'cat': 9 is now 1",
        ],
        "image_id_renumbered": ["source 1: image 2 'a.png' is now 31"],
        "annotation_id_renumbered": ["source 1: annotation 4 is now 10"],
        "image_in_several_sources": ["source 1: image 31 'a.png' and 'a.png' of source 0"],
    }
    assert (report.images, report.listed_images, report.annotations, report.listed_annotations) == (4, 4, 10, 10)


def test_what_lvis_says_of_images_keeps_its_classes_when_their_ids_change(
    first: SourceConfig, second: SourceConfig, tmp_path: Path
) -> None:
    """Images of a source without LVIS's lists are verified for all classes of that source."""
    content = original(second)
    content["images"][0] |= {"neg_category_ids": [7], "not_exhaustive_category_ids": [9]}
    content["images"][1] |= {"neg_category_ids": [], "not_exhaustive_category_ids": [2]}
    content["categories"][1]["frequency"] = "r"
    Path(second.annotations).write_text(json.dumps(content))
    only_cats = original(first)
    only_cats["annotations"] = [entry for entry in only_cats["annotations"] if entry["category_id"] == 1]
    Path(first.annotations).write_text(json.dumps(only_cats))
    prepare(PrepareConfig(train=(first, second), val=(first,)), tmp_path / "dataset")
    split = Split.open(tmp_path / "dataset", "train")
    assert split.names == ["cat", "dog", "bird"]
    assert [entry.group for entry in split.frequencies] == [None, None, "r"]
    verified = [
        (entry["neg_category_ids"], entry["not_exhaustive_category_ids"]) for entry in split.to_coco()["images"]
    ]
    assert verified == [([7], []), ([7], []), ([10], [1]), ([], [7])]


def test_a_class_whose_annotation_was_dropped_is_not_verified_to_be_absent(
    first: SourceConfig, second: SourceConfig, tmp_path: Path
) -> None:
    """Detections of a dog that somebody annotated, if badly, would count as wrong; a second dog may be there too."""
    lvis = original(second)
    lvis["images"][0]["neg_category_ids"] = []
    Path(second.annotations).write_text(json.dumps(lvis))
    content = original(first)
    dogs = [entry for entry in content["annotations"] if entry["category_id"] == 7]
    dogs[0]["bbox"][2] = 0
    content["annotations"].append({**dogs[1], "id": 90, "bbox": None})
    Path(first.annotations).write_text(json.dumps(content))
    prepare(PrepareConfig(train=(first, second), val=(first,)), tmp_path / "dataset")
    images = Split.open(tmp_path / "dataset", "train").to_coco()["images"]
    verified = [(entry["neg_category_ids"], entry["not_exhaustive_category_ids"]) for entry in images[:2]]
    assert verified == [([], [7]), ([], [7])]


def test_a_list_of_one_source_is_that_source(first: SourceConfig, tmp_path: Path) -> None:
    single = prepare(PrepareConfig(train=(first,), val=(first,)), tmp_path / "single")
    values = {"train": [first.model_dump()], "val": first.model_dump()}
    assert prepare(PrepareConfig.parse(values), tmp_path / "list").digest == single.digest
    found = Split.open(tmp_path / "list", "train").to_coco()
    assert {key: found[key] for key in ("images", "annotations", "categories")} == original(first)


def test_settings_of_a_single_source_are_reached_by_their_path(first: SourceConfig) -> None:
    config = PrepareConfig(train=(first,)).override(["train.images=elsewhere"])
    assert config.train[0].images == "elsewhere"
    assert config.model_dump()["train"] == {**first.model_dump(), "images": "elsewhere"}
    with pytest.raises(UserError, match=r"train.1.annotations: Field required"):
        PrepareConfig.parse({"train": [first.model_dump(), {}]})
    with pytest.raises(UserError, match=r"train: .*at least 1 item"):
        PrepareConfig.parse({"train": []})


def test_a_drawn_val_of_several_sources_finds_its_images(
    first: SourceConfig, second: SourceConfig, tmp_path: Path
) -> None:
    """The image that both sources have must not be trained on and measured."""
    prepare(PrepareConfig(train=(first, second), val_fraction=0.4), tmp_path / "dataset")
    splits = [Split.open(tmp_path / "dataset", name) for name in ("train", "val")]
    digests = [{split.digest(i) for i in range(len(split))} for split in splits]
    assert not digests[0] & digests[1]
    assert sum(len(split) for split in splits) == 4
    for split in splits:
        assert all(split.record(i).read().shape == (30, 40, 3) for i in range(len(split)))


def test_the_formats_can_be_mixed(first: SourceConfig, tmp_path: Path) -> None:
    content, folder = original(first), Path(first.images or "")
    write_voc(content, folder, tmp_path / "voc", "train")
    write_yolo(content, folder, tmp_path / "yolo", "train")
    others = (SourceConfig(annotations=str(path)) for path in (tmp_path / "voc", tmp_path / "yolo" / "data.yaml"))
    prepare(PrepareConfig(train=(first, *others), val=(first,)), tmp_path / "dataset")
    split = Split.open(tmp_path / "dataset", "train")
    assert split.names == ["cat", "dog"]
    assert split.category_ids == [1, 7]
    assert len(split) == 6
    for i in (2, 3, 4, 5):
        assert split.record(i).labels.tolist() == split.record(i % 2).labels.tolist()
        assert split.record(i).boxes_xywh == pytest.approx(split.record(i % 2).boxes_xywh)
    report = read_report(tmp_path / "dataset").splits["train"]
    assert {finding.name: finding.count for finding in report.findings} == {
        "category_id_renumbered": 2,  # YOLO's; the other formats have no ids
        "image_in_several_sources": 4,
    }


def test_classes_that_differ_in_case_only_are_pointed_out(first: SourceConfig, tmp_path: Path) -> None:
    """They would be two classes, each with a part of the objects, by mistake."""
    other = write(tmp_path / "other", {1: "Cat", 2: "d-o-g", 3: "dogs", 4: "cat"}, {9: "x.png"}, first=90)
    prepare(PrepareConfig(train=(first, other), val=(first,)), tmp_path / "dataset")
    assert set(Split.open(tmp_path / "dataset", "train").names) == {"cat", "dog", "Cat", "d-o-g", "dogs"}
    report = read_report(tmp_path / "dataset").splits["train"]
    (found,) = (finding for finding in report.findings if finding.name == "category_alike")
    assert found.examples == [
        "source 1: 'Cat', and 'cat' in an earlier source",
        "source 1: 'd-o-g', and 'dog' in an earlier source",
    ]


def test_hundreds_of_classes_in_any_order_and_with_gaps(tmp_path: Path) -> None:
    """Objects365 has 365 classes; two lists of them may number and order them differently."""
    draw = random.Random(0)
    names = [f"Class {number}/{number * 7 % 5}" for number in range(365)]
    numberings = []
    for _ in range(2):
        identifiers = draw.sample(range(5000), 365)
        numbered = list(zip(identifiers, draw.sample(names, 365), strict=True))
        numberings.append(dict(numbered))
    sources = [
        write(tmp_path / f"source{position}", numbering, {1: f"{position}.png"})
        for position, numbering in enumerate(numberings)
    ]
    prepare(PrepareConfig(train=tuple(sources), val=(sources[1],)), tmp_path / "dataset")
    split = Split.open(tmp_path / "dataset", "train")
    by_id = dict(sorted(numberings[0].items()))
    assert split.category_ids == list(by_id)
    assert split.names == list(by_id.values())
    for name in ("train", "val"):
        opened = Split.open(tmp_path / "dataset", name)
        for i in range(len(opened)):
            record = opened.record(i)
            assert sorted(opened.names[label] for label in record.labels) == sorted(names)
            numbering = numberings[1] if name == "val" else numberings[i]
            rows = {category % 9: set() for category in numbering}  # type: ignore[var-annotated]
            for category, text in numbering.items():
                rows[category % 9].add(text)
            assert all(
                opened.names[label] in rows[int(box[1])]
                for label, box in zip(record.labels, record.boxes_xywh, strict=True)
            )
    alone = prepare(PrepareConfig(train=(sources[0],), val=(sources[0],)), tmp_path / "alone")
    assert alone.summary["classes"] == 365
