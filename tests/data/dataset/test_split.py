"""Opening a prepared dataset: fast, cheap to share, and clear about damage."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from codetr.core.errors import RunFailed, UserError
from codetr.core.files import sha256_bytes
from codetr.core.progress import track
from codetr.data.config import SourceConfig
from codetr.data.dataset.classes import read_classes
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import read_report
from codetr.data.storage.image_error import BadImageError
from codetr.doctor.terminal import print_report
from codetr.steps.prepare import prepare


def test_records_are_those_of_the_annotation_file(drawn: Path, dataset: Path) -> None:
    original = json.loads((drawn / "val" / "annotations.json").read_text())
    split = Split.open(dataset, "val")
    assert len(split) == len(original["images"]) == 5
    for i, image in enumerate(original["images"]):
        record = split.record(i)
        objects = [annotation for annotation in original["annotations"] if annotation["image_id"] == image["id"]]
        assert (record.image_id, record.height, record.width) == (image["id"], image["height"], image["width"])
        assert record.path == (drawn / "val" / "images" / image["file_name"]).resolve()
        assert record.boxes_xywh.tolist() == [annotation["bbox"] for annotation in objects]
        assert [split.category_ids[label] for label in record.labels] == [entry["category_id"] for entry in objects]
        assert [record.segmentation(k) for k in range(len(objects))] == [entry["segmentation"] for entry in objects]
        assert [record.mask(k).sum() for k in range(len(objects))] == [entry["area"] for entry in objects]


def test_a_split_pickles_as_its_location(train_split: Split) -> None:
    """Loader processes would otherwise each get a copy of the whole index."""
    content = pickle.dumps(train_split)
    assert len(content) < 1000
    assert pickle.loads(content).to_coco() == train_split.to_coco()


def test_the_index_is_mapped_and_not_writable(train_split: Split) -> None:
    split = Split.open(train_split.dataset, "train")
    assert isinstance(split.labels, np.memmap)
    assert not split.labels.flags.writeable


def test_a_box_stands_in_for_a_missing_segmentation(train_split: Split) -> None:
    record = train_split.record(0)
    fields = {name: getattr(record, name) for name in record.__dataclass_fields__}
    bare = type(record)(**{**fields, "segmentations": (b"",), "boxes_xywh": np.array([[-2.0, 3.0, 6.0, 1000.0]])})
    mask = bare.mask(0)
    assert mask[3:, :4].all()
    assert mask.sum() == 4 * (record.height - 3)


def test_an_image_file_that_kept_its_size_but_not_its_content_is_noticed(train_split: Split, tmp_path: Path) -> None:
    """Uncompressed images of one kind have one size: swapped files would keep each other's objects."""
    record = train_split.record(0)
    Image.fromarray(record.read()).save(tmp_path / "a.bmp")
    content = (tmp_path / "a.bmp").read_bytes()
    saved = replace(record, path=tmp_path / "a.bmp", digest=sha256_bytes(content), file_size=len(content))
    assert np.array_equal(saved.read(), record.read())
    Image.fromarray(record.read()[::-1]).save(tmp_path / "a.bmp")
    with pytest.raises(BadImageError, match=r"a\.bmp: has other content than when the dataset was prepared"):
        saved.read()


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "dataset"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "has no classes.json"),
        (lambda folder: (folder / "locations.json").unlink(), "locations.json: no such file"),
        (lambda folder: (folder / "locations.json").write_text("[]"), "is not a JSON object with the image folders"),
        (lambda folder: (folder / "locations.json").write_text('{"val": "x"}'), "has no split 'train' (it has val)"),
        (lambda folder: (folder / "locations.json").write_text('{"train": "/x"}'), "the image folder of split 'train'"),
        (lambda folder: (folder / "train" / "boxes_xywh.npy").unlink(), "boxes_xywh.npy: no such file"),
        (
            lambda folder: (folder / "train" / "boxes_xywh.npy").write_bytes(b"x" * 999),
            "boxes_xywh.npy: cannot be read",
        ),
        (lambda folder: (folder / "train" / "boxes_xywh.npy").write_bytes(b""), "boxes_xywh.npy: cannot be read"),
        (lambda folder: np.save(folder / "train" / "labels.npy", np.zeros(3, np.int32)), "do not fit together"),
        (lambda folder: np.save(folder / "train" / "labels.npy", np.zeros(3)), "has float64 in 1 axes, expected int32"),
        (
            lambda folder: np.save(folder / "train" / "sizes.npy", np.zeros(20, np.int32)),
            "in 1 axes, expected int32 in 2",
        ),
        (lambda folder: np.save(folder / "train" / "paths.npy", np.zeros(3, np.uint8)), "do not fit together"),
        (lambda folder: (folder / "classes.json").write_text('{"names": ["a"]}'), "two lists of one length"),
        (lambda folder: (folder / "classes.json").write_text("7"), "two lists of one length"),
        (
            lambda folder: (folder / "classes.json").write_text(
                '{"names": ["a"], "category_ids": [1], "frequency": ["x"], "image_count": [null]}'
            ),
            "lists of one length",
        ),
    ],
)
def test_damage_is_a_user_error(copy: Path, damage: Any, message: str) -> None:
    damage(copy)
    with pytest.raises(UserError) as caught:
        Split.open(copy, "train")
    assert message in str(caught.value)


@pytest.fixture
def federated(drawn: Path, tmp_path: Path) -> Path:
    """The drawn dataset, prepared with LVIS's fields in all images but one, and in one category."""
    values = json.loads((drawn / "train" / "annotations.json").read_text())
    for image in values["images"][1:]:
        image |= {"neg_category_ids": [5, 2], "not_exhaustive_category_ids": [image["id"] % 5 + 1]}
    values["categories"][1] |= {"frequency": "c", "image_count": 42}
    (tmp_path / "annotations.json").write_text(json.dumps(values))
    annotated = SourceConfig(annotations=str(tmp_path / "annotations.json"), images=str(drawn / "train" / "images"))
    prepare(PrepareConfig(train=(annotated,)), tmp_path / "dataset")
    return tmp_path / "dataset"


def test_a_federated_dataset_says_what_is_verified(federated: Path, train_split: Split) -> None:
    """LVIS's metrics cannot be computed without; an image that lists nothing is not one that lists none."""
    seen = 0
    for name in ("train", "val"):  # val is drawn from train
        split = Split.open(federated, name)
        assert split.federated
        truth = split.to_coco()
        assert truth["categories"][:2] == [
            {"id": 1, "name": "circle"},
            {"id": 2, "name": "square", "frequency": "c", "image_count": 42},
        ]
        for i, image in enumerate(truth["images"]):
            record = split.record(i)
            if "neg_category_ids" not in image:
                assert (record.negative, record.not_exhaustive) == (None, None)
                continue
            seen += 1
            assert image["neg_category_ids"] == [2, 5]
            assert image["not_exhaustive_category_ids"] == [image["id"] % 5 + 1]
            assert record.negative is not None
            assert record.negative.tolist() == [1, 4]
    assert seen == 19
    assert not train_split.federated
    assert train_split.record(0).negative is None


@pytest.mark.parametrize("array", ["verified", "negative_offsets", "negative_labels", "not_exhaustive_labels"])
def test_damaged_lists_of_verified_classes_are_a_user_error(federated: Path, array: str) -> None:
    path = federated / "train" / f"{array}.npy"
    np.save(path, np.zeros(1000, np.load(path).dtype))
    with pytest.raises(UserError, match="do not fit together"):
        Split.open(federated, "train")


def test_a_changed_image_is_noticed(train_split: Split) -> None:
    record = train_split.record(0)
    fields = {name: getattr(record, name) for name in record.__dataclass_fields__}
    with pytest.raises(UserError, match="when prepared"):
        type(record)(**{**fields, "width": record.width + 1}).read()


def test_classes(dataset: Path) -> None:
    classes = read_classes(dataset)
    assert (classes.names, classes.category_ids) == (["circle", "square", "triangle", "star", "cross"], [1, 2, 3, 4, 5])
    # What is not known is not written: a dataset of another version would have another digest.
    assert json.loads((dataset / "classes.json").read_text()).keys() == {"names", "category_ids"}
    assert not (dataset / "train" / "verified.npy").exists()


def test_the_report_is_shown_with_names_as_they_are(dataset: Path, copy: Path) -> None:
    """Markup in a class name or file name must be shown, not interpreted."""
    values = json.loads((copy / "doctor.json").read_text())
    counts = {"train": 1, "val": 1}
    values["classes"].append({"name": "[bold]cup[/]", "id": 9, "objects": counts, "images": counts})
    values["splits"]["train"]["findings"] = [
        {"name": "image_missing", "action": "", "meaning": "", "count": 3, "examples": ["[red]a.jpg"]}
    ]
    (copy / "doctor.json").write_text(json.dumps(values))
    stream = io.StringIO()
    report = read_report(copy)
    print_report(report, report.findings, Console(file=stream, width=200))
    text = stream.getvalue()
    for expected in ("[bold]cup[/]", "image_missing", "[red]a.jpg", "20", "circle"):
        assert expected in text


@pytest.mark.parametrize("content", ["{}", "[]", '{"splits": {"train": {}}}', "7"])
def test_a_report_of_another_version_is_a_user_error(copy: Path, content: str) -> None:
    (copy / "doctor.json").write_text(content)
    with pytest.raises(UserError, match="is not a report of this version"):
        read_report(copy)


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_shown_and_changes_nothing(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codetr.core.progress.LINE_SECONDS", 0.0)
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100)
    assert list(track(iter("abc"), 3, "reading", console)) == ["a", "b", "c"]
    text = stream.getvalue()
    assert "reading" in text
    assert "3/3" in text
    if not terminal:
        assert "reading: 1/3, " in text
        assert "s left" in text
        assert "\x1b" not in text


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that fails")
def test_a_disk_that_fails_is_no_bad_image(dataset: Path) -> None:
    """Training that skips bad images replaced sound ones while their disk was failing."""
    record = replace(Split.open(dataset, "val").record(0), path=Path("/proc/self/mem"), file_size=0)
    with pytest.raises(RunFailed, match="/proc/self/mem: reading images failed: input/output error"):
        record.read()
