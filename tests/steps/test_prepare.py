"""prepare: sources in, a dataset folder out that says what it is made of, or an error and nothing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from codetr.core.errors import UserError
from codetr.core.manifest import Manifest
from codetr.data.config import SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import read_report
from codetr.data.synthetic import ANNOTATIONS
from codetr.steps.prepare import prepare
from tests.support.data.dataset_trees import write_voc, write_yolo
from tests.support.data.sources import edit, source


def test_index_says_what_the_file_says(drawn: Path, tmp_path: Path) -> None:
    prepare(PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),)), tmp_path / "dataset")
    for name in ("train", "val"):
        original = json.loads((drawn / name / ANNOTATIONS).read_text())
        found = Split.open(tmp_path / "dataset", name).to_coco()
        assert found["images"] == original["images"]
        assert found["categories"] == original["categories"]
        assert found["annotations"] == original["annotations"]


def test_a_pipe_of_annotations_is_refused(drawn: Path, tmp_path: Path) -> None:
    """Opening one waits for a writer, and it cannot be read twice."""
    os.mkfifo(tmp_path / "a.json")
    train = SourceConfig(annotations=str(tmp_path / "a.json"), images=str(drawn / "train" / "images"))
    with pytest.raises(UserError, match="is neither a file nor a folder"):
        prepare(PrepareConfig(train=(train,)), tmp_path / "dataset")


def test_same_input_gives_same_digest_wherever_it_lies(drawn: Path, tmp_path: Path) -> None:
    """Lineage would call equal datasets different."""
    config = PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),))
    first = prepare(config, tmp_path / "a" / "dataset")
    shutil.move(drawn, tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere"
    second = prepare(PrepareConfig(train=(source(moved / "train"),), val=(source(moved / "val"),)), tmp_path / "b")
    assert first.digest == second.digest
    read = Manifest.read(tmp_path / "b", "dataset", verify=True)
    assert read == second
    assert set(read.inputs) == {"train.annotations", "train.images", "val.annotations", "val.images"}


def test_changed_pixels_change_the_digest(drawn: Path, tmp_path: Path) -> None:
    config = PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),))
    before = prepare(config, tmp_path / "dataset")
    image = next((drawn / "train" / "images").iterdir())
    Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    after = prepare(config, tmp_path / "dataset")
    changed = {key for key in before.inputs if before.inputs[key] != after.inputs[key]}
    assert changed == {"train.images"}


def test_category_ids_with_gaps_become_contiguous_labels(drawn: Path, tmp_path: Path) -> None:
    """Labels follow ascending ids; evaluation writes the original ids again."""
    new = {1: 90, 2: 3, 3: 13, 4: 1, 5: 17}

    def change(content: dict[str, Any]) -> None:
        for category in content["categories"]:
            category["id"] = new[category["id"]]
        for annotation in content["annotations"]:
            annotation["category_id"] = new[annotation["category_id"]]

    for name in ("train", "val"):
        edit(drawn / name, change)
    prepare(PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),)), tmp_path / "dataset")
    split = Split.open(tmp_path / "dataset", "train")
    assert split.category_ids == [1, 3, 13, 17, 90]
    assert split.names == ["star", "square", "triangle", "cross", "circle"]
    original = json.loads((drawn / "train" / ANNOTATIONS).read_text())
    assert split.to_coco()["annotations"] == original["annotations"]


def test_crowds_are_evaluated_but_not_trained_on(drawn: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][0]["iscrowd"] = 1

    edit(drawn / "train", change)
    prepare(PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),)), tmp_path / "dataset")
    split = Split.open(tmp_path / "dataset", "train")
    crowds = [annotation for annotation in split.to_coco()["annotations"] if annotation["iscrowd"]]
    assert [annotation["id"] for annotation in crowds] == [1]
    assert sum(int((~split.record(i).trainable).sum()) for i in range(len(split))) == 1


@pytest.fixture
def yolo(drawn: Path, tmp_path: Path) -> Path:
    for name in ("train", "val"):
        write_yolo(json.loads((drawn / name / ANNOTATIONS).read_text()), drawn / name / "images", tmp_path / "y", name)
    return tmp_path / "y" / "data.yaml"


def split_sizes(dataset: Path) -> dict[str, int]:
    return {name: len(Split.open(dataset, name)) for name in ("train", "val", "test") if (dataset / name).exists()}


def change_yaml(file: Path, **values: Any) -> None:
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | values))


def test_the_val_that_a_file_lists_is_taken(yolo: Path, drawn: Path, tmp_path: Path, caplog: Any) -> None:
    """Drawn from train, val would be smaller than what there is, and no one's numbers could be compared."""
    caplog.set_level("INFO")
    sizes = {name: len(json.loads((drawn / name / ANNOTATIONS).read_text())["images"]) for name in ("train", "val")}
    train = SourceConfig(annotations=str(yolo))
    alone = prepare(PrepareConfig(train=(train,)), tmp_path / "alone")
    assert f"using the val set that {yolo} lists" in caplog.text
    assert split_sizes(tmp_path / "alone") == sizes
    assert alone.digest == prepare(PrepareConfig(train=(train,), val=(train,)), tmp_path / "named").digest
    for name in ("train", "val"):
        content = json.loads((drawn / name / ANNOTATIONS).read_text())
        write_voc(content, drawn / name / "images", tmp_path / "voc", name)
    voc = SourceConfig(annotations=str(tmp_path / "voc"))
    prepare(PrepareConfig(train=(voc,)), tmp_path / "dataset")
    assert split_sizes(tmp_path / "dataset") == sizes
    prepare(PrepareConfig(train=(train, voc)), tmp_path / "both")
    assert split_sizes(tmp_path / "both") == {name: 2 * size for name, size in sizes.items()}
    change_yaml(yolo, test="images/val")
    prepare(PrepareConfig(train=(train,), test_fraction=0.3), tmp_path / "drawn-test")
    found = split_sizes(tmp_path / "drawn-test")
    assert (found["val"], found["train"] + found["test"]) == (sizes["val"], sizes["train"])
    prepare(PrepareConfig(train=(train,)), tmp_path / "listed-test")
    assert split_sizes(tmp_path / "listed-test") == {**sizes, "test": sizes["val"]}


@pytest.mark.parametrize(
    "listed",
    [{"val": None}, {"val": "images/train"}, {"val": "images/gone"}, {"val": "bare"}, {"val": [3]}],
    ids=lambda listed: str(listed["val"]),
)
def test_a_val_that_is_none_is_not_taken(yolo: Path, tmp_path: Path, listed: dict[str, Any]) -> None:
    """COCO's data.yaml lists a test without labels, that of coco128 the training images as val."""
    (yolo.parent / "bare").mkdir()
    shutil.copy(next((yolo.parent / "images" / "val").iterdir()), yolo.parent / "bare")
    change_yaml(yolo, **listed)
    whole = len(list((yolo.parent / "images" / "train").iterdir()))
    prepare(PrepareConfig(train=(SourceConfig(annotations=str(yolo)),)), tmp_path / "dataset")
    sizes = split_sizes(tmp_path / "dataset")
    assert sizes["train"] + sizes["val"] == whole


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"bbox": [1, 1, 0, 5]}, r"annotations cannot be used \(box_empty"),
        ({"ignore": 1}, "kept are crowds, marked"),
    ],
    ids=["dropped", "ignored"],
)
def test_a_split_without_anything_to_train_on_says_why(drawn: Path, tmp_path: Path, changed: Any, said: str) -> None:
    edit(drawn / "train", lambda content: [entry.update(changed) for entry in content["annotations"]])
    with pytest.raises(UserError, match=said):
        prepare(PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),)), tmp_path / "dataset")


@pytest.mark.parametrize("drawn_splits", [{}, {"stratify": False}, {"test_fraction": 0.2}])
@pytest.mark.parametrize("lost", ["images", "objects"])
def test_nothing_to_train_on_is_said_before_val_is_drawn(
    drawn: Path, tmp_path: Path, lost: str, drawn_splits: dict[str, Any]
) -> None:
    """It was a traceback, since there were no classes to divide."""
    if lost == "images":
        shutil.rmtree(drawn / "train" / "images")
        (drawn / "train" / "images").mkdir()
    else:
        edit(drawn / "train", lambda content: [value.update(bbox=[1, 1, 0.5, 0.5]) for value in content["annotations"]])
    with pytest.raises(UserError, match="the split 'train' has no usable annotation"):
        prepare(
            PrepareConfig(train=(source(drawn / "train"),), max_lost_images=1, **drawn_splits), tmp_path / "dataset"
        )


def test_images_with_similar_names_are_used_and_reported(drawn: Path, tmp_path: Path) -> None:
    """All images would be missing, or two of them one file."""
    images = drawn / "train" / "images"
    first, second, third = sorted(images.iterdir())[:3]
    (images / "part").mkdir()
    first.rename(images / "part" / first.name)
    second.rename(images / f"0a1b-{second.name}")
    third.unlink()
    doubtful = f"x_{sorted(images.iterdir())[-1].name}"

    def rename(content: dict[str, Any]) -> None:
        for image in content["images"]:
            if image["file_name"] == third.name:
                image["file_name"] = doubtful

    edit(drawn / "train", rename)
    prepare(PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),)), tmp_path / "dataset")
    found = {finding.name: finding for finding in read_report(tmp_path / "dataset").splits["train"].findings}
    assert found["image_name_similar"].count == 2
    assert found["image_missing"].count == 1
    split = Split.open(tmp_path / "dataset", "train")
    assert {f"part/{first.name}", f"0a1b-{second.name}"} <= {split.relative_path(i) for i in range(len(split))}


def test_doctor_report_survives_the_disk(drawn: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][0]["bbox"] = [1, 1, -4, 5]
        content["annotations"][1]["category_id"] = 77
        content["images"].append({"id": 999, "file_name": "[red]nowhere.jpg", "height": 5, "width": 5})

    edit(drawn / "train", change)
    prepare(PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),)), tmp_path / "dataset")
    report = read_report(tmp_path / "dataset")
    assert report.to_json() == json.loads((tmp_path / "dataset" / "doctor.json").read_text())
    train = report.splits["train"]
    findings = {finding.name: finding.count for finding in train.findings}
    assert findings == {"image_missing": 1, "annotation_category_unknown": 1, "box_negative": 1}
    assert train.listed_annotations - train.annotations == 2
    assert train.listed_images - train.images == 1
    assert sum(entry.objects["train"] for entry in report.classes) == train.trainable


def test_shared_images_are_noticed(drawn: Path, tmp_path: Path) -> None:
    prepare(PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "train"),)), tmp_path / "dataset")
    report = read_report(tmp_path / "dataset")
    assert [(found.name, found.count) for found in report.splits["val"].findings] == [("image_leaked", 24)]
    assert any(text.startswith("image_leaked (24): ") for text in report.advice)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(annotations=[]), "the split 'train' lists no annotation"),
        (
            lambda content: [annotation.update(bbox=[0, 0, 0, 0]) for annotation in content["annotations"]],
            "box_empty",
        ),
        (
            lambda content: [image.update(file_name=f"x{image['file_name']}") for image in content["images"]],
            "24 of 24 images cannot be used (image_missing 24)",
        ),
        (lambda content: content["categories"][0].update(name="disc"), "category 1 is 'circle' in val, but 'disc'"),
    ],
)
def test_an_error_leaves_the_previous_dataset(drawn: Path, tmp_path: Path, change: Any, message: str) -> None:
    output = tmp_path / "out" / "dataset"
    config = PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),))
    before = prepare(config, output)
    edit(drawn / "train", change)
    with pytest.raises(UserError) as caught:
        prepare(config, output)
    assert message in str(caught.value)
    assert Manifest.read(output, "dataset", verify=True) == before
    assert [path.name for path in output.parent.iterdir()] == ["dataset"]


@pytest.mark.parametrize("field", ["annotations", "images"])
def test_missing_sources_are_named(drawn: Path, tmp_path: Path, field: str) -> None:
    broken = source(drawn / "train").model_copy(update={field: str(tmp_path / "nowhere")})
    with pytest.raises(UserError, match=f"{tmp_path}/nowhere: no such"):
        prepare(PrepareConfig(train=(broken,)), tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_what_somebody_put_into_a_dataset_is_not_lost(drawn: Path, tmp_path: Path) -> None:
    """An earlier dataset is replaced as a whole, but only if there is nothing else in it."""
    config = PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),))
    prepare(config, tmp_path / "dataset")
    (tmp_path / "dataset/.DS_Store").touch()
    prepare(config, tmp_path / "dataset")
    (tmp_path / "dataset/notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds 'notes\.txt', which is no part of the earlier dataset"):
        prepare(config, tmp_path / "dataset")
    assert (tmp_path / "dataset/notes.txt").read_text() == "mine"


def test_a_folder_that_is_no_dataset_is_never_replaced(drawn: Path, tmp_path: Path) -> None:
    """`-o` pointed at the folder of the images would delete what cannot be made again."""
    config = PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),))
    before = sorted(path.relative_to(drawn) for path in drawn.rglob("*"))
    with pytest.raises(UserError, match="not empty and no earlier dataset"):
        prepare(config, drawn)
    assert sorted(path.relative_to(drawn) for path in drawn.rglob("*")) == before
    assert prepare(config, tmp_path / "dataset") == prepare(config, tmp_path / "dataset")


def test_a_dataset_of_other_annotations_is_replaced_only_on_request(drawn: Path, tmp_path: Path) -> None:
    """The dataset of another project was replaced without a word; its training could not be resumed."""
    output = tmp_path / "dataset"
    first = prepare(PrepareConfig(train=(source(drawn / "train"),)), output)
    other = PrepareConfig(train=(source(drawn / "val"),))
    with pytest.raises(UserError, match=r"other training annotations: .*annotations.json.*--overwrite"):
        prepare(other, output)
    assert Manifest.read(output, "dataset", verify=True) == first
    assert prepare(other, output, overwrite=True).digest != first.digest


def test_the_same_annotations_are_prepared_again(drawn: Path, tmp_path: Path) -> None:
    """Correcting a file, a setting or val and preparing again is the usual way of work."""
    output = tmp_path / "dataset"
    first = prepare(PrepareConfig(train=(source(drawn / "train"),)), output)
    edit(drawn / "train", lambda content: content["annotations"].pop())
    second = prepare(PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),), seed=1), output)
    assert second.digest != first.digest


def test_a_byte_order_mark_gives_the_same_digest_wherever_the_file_lies(drawn: Path, tmp_path: Path) -> None:
    """The finding about it once named the file's path, and lineage would call equal datasets different."""
    digests = set()
    for split in ("train", "val"):
        path = drawn / split / ANNOTATIONS
        path.write_text(path.read_text(), encoding="utf-8-sig")
    for name in ("here", "there"):
        shutil.copytree(drawn, tmp_path / name / "drawn")
        folder = tmp_path / name / "drawn"
        config = PrepareConfig(train=(source(folder / "train"),), val=(source(folder / "val"),))
        digests.add(prepare(config, tmp_path / name / "dataset").digest)
    assert len(digests) == 1


def test_ids_at_the_upper_end_leave_room_for_assigned_ones(drawn: Path, tmp_path: Path) -> None:
    """An assigned id beyond 64 bits would be a traceback."""

    def enlarge(content: dict[str, Any]) -> None:
        content["annotations"][0]["id"] = 2**62 - 1
        del content["annotations"][1]["id"]

    edit(drawn / "train", enlarge)
    config = PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),))
    prepare(config, tmp_path / "dataset")
    found = Split.open(tmp_path / "dataset", "train").to_coco()["annotations"]
    assert {2**62 - 1, 2**62} <= {entry["id"] for entry in found}


def test_images_cut_short_are_dropped_and_reported_or_refused(drawn: Path, tmp_path: Path) -> None:
    """Half an image decodes, with grey below; how many images may be lost is a setting."""
    cut = sorted((drawn / "train" / "images").iterdir())[:2]
    for path, size in zip(cut, (path.stat().st_size for path in cut), strict=True):
        path.write_bytes(path.read_bytes()[: size // 2])
    config = PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),))
    manifest = prepare(config, tmp_path / "dataset")
    assert manifest.summary["train"]["dropped_images"] == 2
    (found,) = [
        finding
        for finding in read_report(tmp_path / "dataset").splits["train"].findings
        if finding.name == "image_unreadable"
    ]
    assert found.count == 2
    assert all("is damaged" in example for example in found.examples)
    with pytest.raises(UserError, match="2 of 24 images cannot be used"):
        prepare(config.model_copy(update={"max_lost_images": 0.0}), tmp_path / "strict")
    assert not (tmp_path / "strict").exists()


def test_an_image_that_was_edited_since_is_noticed(drawn: Path, tmp_path: Path) -> None:
    """Training and evaluation would go on with pixels that the dataset's digest does not stand for."""
    config = PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),))
    prepare(config, tmp_path / "dataset")
    record = Split.open(tmp_path / "dataset", "train").record(0)
    assert isinstance(record.path, Path)
    Image.new("RGB", (record.width, record.height)).save(record.path)
    with pytest.raises(UserError, match="when prepared"):
        record.read()
