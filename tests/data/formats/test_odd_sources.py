"""The table "Labels, spellings and links" of docs/reference/odd_files.md: every row, with a source drawn here."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.config import SourceConfig
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import read_report
from codetr.data.validation.finding_kinds import KINDS
from codetr.steps.prepare import prepare
from tests.support.paths import ROOT

Build = Callable[[Path], dict[str, Any]]

INCIDENTAL = {"image_leaked", "class_rare", "class_unused", "image_id_converted", "box_exceeds_image", "area_invalid"}
"""Findings that sources have in addition to the one that they were made for."""

ROW = "0 0.5 0.5 0.5 0.5\n"
XML = (
    "<annotation><size><width>80</width><height>60</height></size><object><name>{0}</name>"
    "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object></annotation>"
)
DIFFICULT = "<difficult>True</difficult>"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def draw(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int(hashlib.sha256(path.name.encode()).hexdigest()[:8], 16)
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    return path


def yolo(
    change: Callable[[Path], object], train: str = "images", names: str = "[cat]", encoding: str = "utf-8"
) -> Build:
    def build(folder: Path) -> dict[str, Any]:
        for name in ("a", "b"):
            draw(folder / f"images/{name}.png")
            write(folder / f"labels/{name}.txt", ROW)
        change(folder)
        file = folder / "data.yaml"
        file.write_bytes(f"train: {train}\nval: {train}\nnames: {names}\n".encode(encoding))
        return {"annotations": str(file)}

    return build


def add_labels(name: str) -> Callable[[Path], object]:
    return lambda folder: write(folder / name, ROW)


def add_rows(rows: str, to: str = "a") -> Callable[[Path], object]:
    return lambda folder: [write(folder / f"labels/{name}.txt", (ROW if to == "a" else "") + rows) for name in to]


def folder_for_label(folder: Path) -> None:
    (folder / "labels/a.txt").unlink()
    (folder / "labels/a.txt").mkdir()


def dangling_label(folder: Path) -> None:
    (folder / "labels/a.txt").unlink()
    (folder / "labels/a.txt").symlink_to(folder / "gone.txt")


def in_format(*box: float) -> Callable[[Path], object]:
    text = XML.format("cat")
    for old, new in zip((">2<", ">2<", ">20<", ">20<"), box, strict=True):
        text = text.replace(old, f">{new}<", 1)
    return lambda folder: [write(folder / f"Annotations/{name}.xml", text) for name in "ab"]


def in_gbk(folder: Path) -> None:
    text = f'<?xml version="1.0" encoding="gb2312"?>{XML.format("猫")}'
    (folder / "Annotations/a.xml").write_bytes(text.encode("gbk"))


def foreign(content: bytes) -> Build:
    def build(folder: Path) -> dict[str, Any]:
        draw(folder / "images/a.png")
        (folder / "train.json").write_bytes(content)
        return {"annotations": str(folder / "train.json"), "images": str(folder / "images")}

    return build


def pose(keypoints: str) -> Callable[[Path], object]:
    boxes = ("0.5 0.45 0.2 0.3", "0.5 0.4 0.2 0.2")
    rows = "".join(f"0 {box} {keypoints}\n" for box in boxes)
    return lambda folder: [write(folder / f"labels/{name}.txt", rows) for name in "ab"]


def voc(change: Callable[[Path], object]) -> Build:
    def build(folder: Path) -> dict[str, Any]:
        for name in ("a", "b"):
            draw(folder / f"JPEGImages/{name}.png")
            write(folder / f"Annotations/{name}.xml", XML.format("cat"))
        change(folder)
        return {"annotations": str(folder)}

    return build


def coco(change: Callable[[dict[str, Any]], object], **settings: str) -> Build:
    def build(folder: Path) -> dict[str, Any]:
        names = ("a.png", "b.png", "c d.png")
        for name in names:
            draw(folder / "images" / name)
        sound = {"category_id": 1, "bbox": [40, 20, 16, 30], "area": 480, "iscrowd": 0}
        content: dict[str, Any] = {
            "images": [{"id": k, "file_name": name, "width": 80, "height": 60} for k, name in enumerate(names, 1)],
            "annotations": [{**sound, "id": k, "image_id": k} for k in (1, 2, 3)],
            "categories": [{"id": 1, "name": "cat"}],
        }
        change(content)
        file = write(folder / "train.json", json.dumps(content))
        return {"annotations": str(file), "images": str(folder / "images"), **settings}

    return build


def boxes(*box: float) -> Callable[[dict[str, Any]], object]:
    area = box[2] * box[3]
    return lambda content: [value.update(bbox=list(box), area=area) for value in content["annotations"]]


def segmentation(value: Any) -> Build:
    return coco(lambda content: content["annotations"][0].update(segmentation=value))


def image_ids(*ids: Any) -> Build:
    def change(content: dict[str, Any]) -> None:
        for image, value, identifier in zip(content["images"], content["annotations"], ids, strict=True):
            image["id"] = value["image_id"] = identifier

    return coco(change)


def file_name(name: str) -> Build:
    return coco(lambda content: content["images"][2].update(file_name=name))


def in_tar_file(folder: Path) -> dict[str, Any]:
    settings = coco(lambda content: None)(folder)
    with tarfile.open(folder / "images.tar", "w") as archive:
        archive.add(folder / "images", "images")
    return {**settings, "images": str(folder / "images.tar")}


def category_ids(content: dict[str, Any]) -> None:
    content["categories"][0]["id"] = "cat"
    for value in content["annotations"]:
        value["category_id"] = "cat"


def count_from_0(content: dict[str, Any]) -> None:
    content["categories"] = [{"id": k, "name": f"class {k}"} for k in (1, 2, 3)]
    for k, value in enumerate(content["annotations"]):
        value["category_id"] = k


def empty_boxes(content: dict[str, Any]) -> None:
    sound = content["annotations"][0]
    content["annotations"] = [{**sound, "id": k, "bbox": [4 * k, 20, 0 if k < 11 else 9, 30]} for k in range(1, 16)]


def linked(*, dvc: bool) -> Build:
    sound = coco(lambda content: None)

    def build(folder: Path) -> dict[str, Any]:
        settings = sound(folder / "repository")
        for path in (folder / "repository" / "images").iterdir():
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            cache = folder / "repository" / ".dvc" / "cache" / "files" / "md5" / digest[:2]
            target = cache / digest[2:] if dvc else folder / "store" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
            path.symlink_to(target)
        return settings if dvc else {**settings, "link_targets": (str(folder / "store"),)}

    return build


def move(old: str, new: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / new).parent.mkdir(exist_ok=True)
        (folder / old).rename(folder / new)

    return change


# The sources of every row, in the order of the page.
SOURCES: list[list[Build]] = [
    [yolo(lambda folder: write(folder / "list.txt", "images\\a.png\nimages\\b.png\n"), "list.txt")],
    [yolo(move("labels/a.txt", "images/a.txt")), yolo(move("labels/a.txt", "labels/a.TXT"))],
    [yolo(add_labels("labels/c.txt")), yolo(add_labels("labels/sub/a.txt"))],
    [yolo(lambda folder: write(folder / "images/a.txt", "0 0.4 0.4 0.5 0.5\n"))],
    [yolo(folder_for_label), yolo(dangling_label)],
    [yolo(add_rows("0 0,5 0,5 0,2 0,2\n")), yolo(add_rows("0 0.5 0.5 0.2 0.2 0.9\n"))],
    [yolo(add_rows("0 0.7 0.6 0.98 0.9\n", to="ab")), yolo(add_rows("0 40 30 20 10\n", to="ab"))],
    [voc(in_format(60, 40, 15, 15)), voc(in_format(0.1, 0.2, 0.7, 0.8))],
    [yolo(add_rows("2 0.5 0.5 0.2 0.2\n1 0.2 0.2 0.1 0.1\n", to="ab"), names="[cat, dog]")],
    [yolo(lambda folder: None, names="[cat]\nnames: [dog]")],
    [yolo(lambda folder: None, names="{'0': cat}\nvalid: images", encoding="utf-16")],
    [yolo(lambda folder: draw(folder / "images/c.unknown"))],
    [yolo(lambda folder: [write(folder / f"labels/{name}.txt", "0 0.5 0.5 0.5 0.5 0.9 3\n") for name in "ab"])],
    [yolo(pose("0.45 0.4 2 0 0 0"))],
    [yolo(pose("0.45 0.4 0.5 0.45"))],
    [voc(move("Annotations/a.xml", "Annotations/more/a.xml"))],
    [voc(lambda folder: write(folder / "JPEGImages/c.xml", XML.format("cat")))],
    [voc(lambda folder: draw(folder / "JPEGImages/c.png"))],
    [voc(in_gbk)],
    [voc(lambda folder: [write(folder / f"ImageSets/Main/{name}.txt", "a.png\nb.png\n") for name in ("train", "val")])],
    [voc(lambda folder: write(folder / "Annotations/a.xml", XML.format(f"cat</name>{DIFFICULT}<name>")))],
    [voc(lambda folder: write(folder / "Annotations/a.xml", XML.format("Cat")))],
    [coco(lambda content: content["categories"].insert(0, {"id": 0, "name": "cat"}))],
    [foreign(b"PK\x03\x04"), foreign(b'{"shapes": [], "imagePath": ""}'), foreign(b"<annotations/>")],
    [coco(category_ids)],
    [image_ids("1", "01", "001"), image_ids(1, 2, 1 << 70)],
    [file_name("c%20d.png"), file_name("c d.png ")],
    [file_name("train/c d.png"), file_name("c d.jpg"), file_name("0a1b2c-c d.png"), in_tar_file],
    [coco(boxes(40, 20, 56, 50))],
    [coco(boxes(0.5, 0.2, 0.3, 0.5))],
    [coco(lambda content: None, boxes="xyxy"), coco(lambda content: None, boxes="relative_xyxy")],
    [coco(count_from_0)],
    [coco(lambda content: [value.update(category_id=77) for value in content["annotations"]])],
    [coco(empty_boxes)],
    [coco(boxes(40, 20, 56, 50), boxes="xyxy"), coco(boxes(0.5, 0.3, 0.3, 0.5), boxes="relative_cxcywh")],
    [segmentation([[5, 5] * 3]), segmentation([[5, 5, 20, 9] * 2]), segmentation({"size": [60, 80], "counts": [4800]})],
    [segmentation([[0.5, 0.4, 0.7, 0.4, 0.7, 0.8]])],
    [segmentation({}), segmentation(""), segmentation([None])],
    [linked(dvc=True)],
    [linked(dvc=False)],
]  # fmt: skip


def table() -> list[tuple[str, str, list[str]]]:
    page = (ROOT / "docs" / "reference" / "odd_files.md").read_text(encoding="utf-8")
    section = page.split("## Labels, spellings and links\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*", section, re.M)[2:]]
    return [(what, outcome, re.findall(r"`([^`]+)`", said)) for what, outcome, said in cells]


@pytest.mark.parametrize(
    ("row", "build"),
    [
        pytest.param(row, build, id=f"{number}-{row[0]}")
        for row, builds in zip(table(), SOURCES, strict=True)
        for number, build in enumerate(builds)
    ],
)
def test_rows_say_what_is_done(tmp_path: Path, row: tuple[str, str, list[str]], build: Build) -> None:
    _, outcome, said = row
    (tmp_path / "source").mkdir()
    source = SourceConfig.model_validate(build(tmp_path / "source"))
    config = PrepareConfig(train=(source,), val=(source,))
    if outcome == "refused":
        with pytest.raises(UserError) as caught:
            prepare(config, tmp_path / "dataset")
        assert all(part in str(caught.value) for part in said)
        return
    prepare(config, tmp_path / "dataset")
    found = {finding.name for finding in read_report(tmp_path / "dataset").splits["train"].findings}
    assert found - INCIDENTAL == set(said)
    actions = {KINDS[name].action for name in said}
    assert outcome == next((action for action in ("dropped", "repaired") if action in actions), "kept")
