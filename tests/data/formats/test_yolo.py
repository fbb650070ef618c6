"""YOLO datasets: what every row becomes, every way to name images, and what is refused, by file and line."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.config import SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import read_report
from codetr.steps.prepare import prepare

ROW = "1 0.5 0.5 0.2 0.4"


def add(folder: Path, name: str, rows: str | None, *, orientation: int = 1) -> None:
    """An image of 40x30 pixels with its label file: `images/a/b.png` with `labels/a/b.txt`."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 30), (sum(name.encode()) % 256, 9, 9)).save(path, exif=exif)
    if rows is not None:
        label = folder / name.replace("images/", "labels/").replace(".png", ".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(rows)


def describe(folder: Path, **values: Any) -> Path:
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump({"train": "images/train", "names": ["cat", "dog"], **values}))
    return path


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    folder = tmp_path / "yolo"
    add(folder, "images/train/b.png", f"{ROW}\n")
    add(folder, "images/train/sub/a.png", "0 0.1 0.2 0.5 0.2 0.5 0.6\n")
    describe(folder)
    return folder


def run(tmp_path: Path, path: Path, images: str | None = None, **settings: Any) -> Split:
    """Prepare the set `train`, twice, so that nothing is drawn."""
    source = SourceConfig(annotations=str(path), images=images)
    values = yaml.safe_load(path.read_text())
    if "val" not in values:
        path.write_text(yaml.safe_dump({**values, "val": copy.copy(values["train"])}))  # a copy: no reference
    prepare(PrepareConfig(train=(source,), val=(source,), **settings), tmp_path / "dataset", overwrite=True)
    return Split.open(tmp_path / "dataset", "train")


def findings(tmp_path: Path) -> dict[str, list[str]]:
    return {found.name: found.examples for found in read_report(tmp_path / "dataset").splits["train"].findings}


def files(split: Split) -> list[str]:
    return [image["file_name"] for image in split.to_coco()["images"]]


def test_every_row_becomes_what_coco_has(yolo: Path, tmp_path: Path) -> None:
    """Shares become pixels, class numbers stay the ids, and the box of a polygon is that around it."""
    found = run(tmp_path, yolo / "data.yaml").to_coco()
    assert found["categories"] == [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    assert found["images"] == [
        {"id": 1, "file_name": "images/train/b.png", "height": 30, "width": 40},
        {"id": 2, "file_name": "images/train/sub/a.png", "height": 30, "width": 40},
    ]
    box, polygon = found["annotations"]
    assert (box["id"], box["image_id"], box["category_id"], box["iscrowd"]) == (1, 1, 1, 0)
    assert box["bbox"] == pytest.approx([16, 9, 8, 12])
    assert box["area"] == pytest.approx(96)
    assert (polygon["id"], polygon["image_id"], polygon["category_id"]) == (2, 2, 0)
    assert polygon["bbox"] == pytest.approx([4, 6, 16, 12])
    assert polygon["area"] == pytest.approx(96)
    assert polygon["segmentation"] == [pytest.approx([4, 6, 20, 6, 20, 18])]
    assert findings(tmp_path) == {}


def test_shares_are_of_the_image_as_a_viewer_shows_it(yolo: Path, tmp_path: Path) -> None:
    """Labels are drawn on the upright image; shares of the stored one would put the box elsewhere."""
    add(yolo, "images/train/b.png", f"{ROW}\n", orientation=6)
    split = run(tmp_path, yolo / "data.yaml")
    assert split.record(0).read().shape == (40, 30, 3)
    assert split.record(0).boxes_xywh.tolist() == [pytest.approx([12, 12, 6, 16])]


@pytest.mark.parametrize(
    "values",
    [
        {"train": "images/train"},
        {"train": "./images/train/"},
        {"train": ["images/train/sub", "images/train"]},
        {"train": "../images/train"},
        {"train": "train.txt"},
        {"train": "lists/beside.txt"},
        {"path": "images", "train": "train"},
        {"path": "yolo"},
        {"path": ".", "names": {1: "dog", 0: "cat"}, "nc": 2},
    ],
    ids=["folder", "dot", "folders", "roboflow", "list", "list elsewhere", "path", "path by name", "mapping"],
)
def test_every_way_to_name_images(yolo: Path, tmp_path: Path, values: dict[str, Any]) -> None:
    (yolo / "train.txt").write_text(f"images/train/b.png\n\n{yolo}/images/train/sub/a.png\n")
    (yolo / "lists").mkdir()
    (yolo / "lists" / "beside.txt").write_text("./../images/train/b.png\nimages/train/sub/a.png\n")
    if values.get("path") == "images":
        (yolo / "labels").rename(yolo / "images" / "labels")
        (yolo / "images" / "images").mkdir()
        (yolo / "images" / "train").rename(yolo / "images" / "images" / "train")
        values = {**values, "train": "images/train"}
    split = run(tmp_path, describe(yolo, **values))
    assert [Path(file).name for file in files(split)] == ["b.png", "a.png"]
    assert len(split.labels) == 2


def test_the_root_can_be_given_instead_of_the_path_of_the_file(yolo: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "settings.yaml"
    elsewhere.write_text((describe(yolo, path="../datasets/yolo")).read_text())
    with pytest.raises(UserError, match=r"path: '../datasets/yolo' is outside .* Give the root with --images"):
        run(tmp_path, elsewhere)
    assert len(run(tmp_path, elsewhere, images=str(yolo))) == 2


@pytest.mark.parametrize(
    ("row", "found", "trained"),
    [
        ("0 0.5 0.5 0.2", "annotation_malformed", 1),
        ("0", "annotation_malformed", 1),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "annotation_malformed", 1),
        ("0 a b c d", "annotation_malformed", 1),
        ("cat 0.5 0.5 0.2 0.4", "annotation_malformed", 1),
        ("2 0.5 0.5 0.2 0.4", "annotation_category_unknown", 1),
        ("-1 0.5 0.5 0.2 0.4", "annotation_category_unknown", 1),
        ("0.5 0.5 0.5 0.2 0.4", "annotation_category_unknown", 1),
        ("nan 0.5 0.5 0.2 0.4", "annotation_category_unknown", 1),
        ("0 nan 0.5 0.2 0.4", "box_not_finite", 1),
        ("0 0.5 0.5 inf 0.4", "box_not_finite", 1),
        ("0 0.1 0.1 nan 0.2 0.3 0.3", "box_not_finite", 1),
        ("0 0.5 0.5 -0.2 0.4", "box_negative", 1),
        ("0 0.5 0.5 0 0.4", "box_empty", 1),
        ("0 0.9 0.5 0.6 0.4", "box_exceeds_image", 2),
        ("0 320 240 50 50", "box_outside", 1),
        ("0 0.1 0.1 1.5 0.2 0.3 0.3", "segmentation_exceeds_image", 2),
        (ROW, "annotation_repeated", 2),
        ("0.0 0.5 0.5 0.2 0.4", None, 2),
        ("  \t", None, 1),
    ],
    ids=lambda value: None,
)
def test_a_faulty_row_is_found_by_file_and_line(
    yolo: Path, tmp_path: Path, row: str, found: str | None, trained: int
) -> None:
    (yolo / "labels" / "train" / "b.txt").write_text(f"{ROW}\n\n{row}\n")
    split = run(tmp_path, yolo / "data.yaml")
    assert int(split.record(0).trainable.sum()) == trained
    examples = findings(tmp_path)
    assert examples.get(found or "", ["labels/train/b.txt, line 3"])[0].startswith("labels/train/b.txt, line 3")
    assert set(examples) - {"box_exceeds_image"} == {found} - {None, "box_exceeds_image"}


def test_a_missing_label_file_is_an_image_without_objects(yolo: Path, tmp_path: Path) -> None:
    add(yolo, "images/train/c.png", None)
    add(yolo, "images/train/d.png", "")
    split = run(tmp_path, yolo / "data.yaml")
    assert [len(split.record(i).labels) for i in range(len(split))] == [1, 0, 0, 1]
    assert findings(tmp_path) == {"label_file_missing": ["labels/train/c.txt"]}


def test_labels_in_the_wrong_folder_are_no_set_without_objects(yolo: Path, tmp_path: Path) -> None:
    (yolo / "labels").rename(yolo / "annotations")
    with pytest.raises(UserError, match=r"none of the 2 train images has a label file.*'labels/train/b.txt'"):
        run(tmp_path, yolo / "data.yaml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"names": None}, "has no class"),
        ({"names": {"cat": 0}}, "names: 'cat' is not a class number"),
        ({"names": [["cat"]]}, "names: '0' is not a class number (0, 1, …), or has no name"),
        ({"nc": 3}, "nc is 3, but there are 2 names"),
        ({"train": None}, "has no images for 'train' (sets: val)"),
        ({"train": {"images": 1}}, "has no images for 'train'"),
        ({"train": "images/nowhere"}, "'images/nowhere' does not exist"),
        ({"train": "../../etc"}, "'../../etc' does not exist, or is outside of"),
        ({"train": "/etc"}, "'/etc' does not exist, or is outside of"),
        ({"train": "outside"}, "'outside' does not exist, or is outside of"),
        ({"train": "data.yaml"}, "is neither a folder nor a .txt file"),
        ({"train": "empty"}, "there are no images"),
        ({"path": ".."}, "path: '..' is outside of the folder of this file"),
        ({"path": "/etc"}, "path: '/etc' is outside of the folder of this file"),
        ({"path": "nowhere"}, "path: there is no folder 'nowhere'"),
        ({"kpt_shape": [17, 3]}, "labels of pose datasets"),
    ],
    ids=lambda value: None,
)
def test_a_mistake_in_data_yaml_is_named(yolo: Path, tmp_path: Path, values: dict[str, Any], message: str) -> None:
    (yolo / "outside").symlink_to(tmp_path)
    (yolo / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        run(tmp_path, describe(yolo, val="images/train", **values))
    assert message in str(caught.value)
    assert str(yolo / "data.yaml") in str(caught.value)


@pytest.mark.parametrize("name", [True, 1.1], ids=str)
def test_names_that_yaml_reads_as_something_else_are_refused(yolo: Path, tmp_path: Path, name: object) -> None:
    """`no` would become the class "False", and `1.10` the class "1.1"."""
    with pytest.raises(UserError, match=rf"names: 0: YAML parses this name as {name}\. Put it in quotes"):
        run(tmp_path, describe(yolo, names=[name]))


def test_yaml_cannot_exhaust_the_memory(yolo: Path, tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{name}: &{name} [*{name - 1}, *{name - 1}]\n" for name in range(1, 40))
    path = yolo / "data.yaml"
    source = SourceConfig(annotations=str(path))
    for text, message in (
        (bomb.replace("a: &a", "0: &0"), r"aliases repeat more than"),
        (f"names: [{'x, ' * 500_000}]", "is larger than 1 MiB"),
        ("names: !!python/object/apply:os.system [id]", "is not valid YAML"),
        ("names: [cat", "is not valid YAML"),
        (f"names: {'[' * 100_000}", "is nested more than 50 levels"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            prepare(PrepareConfig(train=(source,)), tmp_path / "dataset")


def test_label_files_that_are_none_are_refused(yolo: Path, tmp_path: Path) -> None:
    label = yolo / "labels" / "train" / "b.txt"
    secret = tmp_path / "secret.txt"
    secret.write_text(ROW)
    with label.open("wb") as stream:
        stream.truncate((16 << 20) + 1)
    with pytest.raises(UserError, match=r"labels/train/b.txt is larger than 16 MiB"):
        run(tmp_path, yolo / "data.yaml")
    label.write_bytes(b"\x89PNG\xff")
    with pytest.raises(UserError, match=r"labels/train/b.txt is not UTF-8 text \(byte 0\)"):
        run(tmp_path, yolo / "data.yaml")
    label.unlink()
    label.symlink_to(secret)
    with pytest.raises(UserError, match=r"labels/train/b.txt leads out of"):
        run(tmp_path, yolo / "data.yaml")


def test_listed_images_that_cannot_be_used_are_reported(yolo: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes((yolo / "images" / "train" / "b.png").read_bytes())
    (yolo / "images" / "train" / "link.png").symlink_to(tmp_path / "secret.png")
    lines = ["images/train/b.png", "images/train/b.png", "nowhere.png", "../secret.png", "images/train/link.png"]
    (yolo / "train.txt").write_text("\n".join(lines))
    split = run(tmp_path, describe(yolo, train="train.txt"), max_lost_images=1)
    assert files(split) == ["images/train/b.png"]
    counts = {name: len(examples) for name, examples in findings(tmp_path).items()}
    assert counts == {"image_repeated": 1, "image_missing": 1, "image_unsafe_path": 2, "label_file_missing": 1}


def test_same_dataset_gives_same_digest_wherever_it_lies(yolo: Path, tmp_path: Path) -> None:
    """Lineage would call equal datasets different."""
    digests = []
    path = yolo / "data.yaml"
    for name in ("yolo", "moved"):
        path = path.parent.rename(tmp_path / name) / "data.yaml"
        run(tmp_path, path)
        source = SourceConfig(annotations=str(path))
        config = PrepareConfig(train=(source,), val=(source,))
        digests.append(prepare(config, tmp_path / "dataset", overwrite=True).digest)
    (path.parent / "labels" / "train" / "b.txt").write_text(f"{ROW}1\n")
    digests.append(prepare(config, tmp_path / "dataset").digest)
    assert digests[0] == digests[1] != digests[2]
