"""Datasets in the store: the same contents are found wherever they are, any other contents are not."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import codetr
from codetr.core.manifest import ORIGIN, Manifest
from codetr.data.config import SourceConfig
from codetr.data.dataset.split import LOCATIONS, Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.synthetic import ANNOTATIONS, draw_sample_data
from codetr.steps.prepare import prepare
from codetr.steps.store import ResultStore
from tests.support.data.dataset_trees import write_voc, write_yolo
from tests.support.data.sources import edit, source

Config = Callable[[Path], PrepareConfig]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training and two validation images."""
    folder = tmp_path_factory.mktemp("few") / "sample"
    draw_sample_data(folder, 8, seed=1, sides=(32, 40))
    return folder


@pytest.fixture
def files(few: Path, tmp_path: Path) -> Path:
    """A copy of these files."""
    return Path(shutil.copytree(few, tmp_path / "files"))


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore.open(str(tmp_path / "store"))


def config_of(files: Path, **settings: Any) -> PrepareConfig:
    return PrepareConfig(train=source(files / "train"), val=source(files / "val"), **settings)


def is_hit(output: Path) -> bool:
    return (output / ORIGIN).is_file()


def test_the_same_contents_elsewhere_are_found_and_read_from_there(
    files: Path, store: ResultStore, tmp_path: Path
) -> None:
    """A dataset that reads the images of another person's folder would fail on another machine."""
    made = prepare(config_of(files), tmp_path / "made", store=store)
    assert not is_hit(tmp_path / "made")
    shutil.move(files, tmp_path / "moved")
    found = prepare(config_of(tmp_path / "moved"), tmp_path / "found", store=store)
    assert is_hit(tmp_path / "found")
    assert found.digest == made.digest
    split = Split.open(tmp_path / "found", "train")
    assert str(tmp_path / "moved") in str(split.path(0))
    assert split.record(0).read().shape[:2] == tuple(split.sizes[0])


def test_a_prepared_dataset_is_found_again_in_its_folder_and_bypassed_when_fresh(
    files: Path, store: ResultStore, tmp_path: Path
) -> None:
    made = prepare(config_of(files), tmp_path / "dataset", store=store)
    assert prepare(config_of(files), tmp_path / "dataset", store=store).digest == made.digest
    assert is_hit(tmp_path / "dataset")
    assert prepare(config_of(files), tmp_path / "dataset", store=store, fresh=True).digest == made.digest
    assert not is_hit(tmp_path / "dataset")


def change_pixels(files: Path) -> None:
    """Another image of the same size and time, in bytes too."""
    image = next((files / "train" / "images").iterdir())
    times, content = image.stat(), bytearray(image.read_bytes())
    content[-20] ^= 1
    image.write_bytes(content)
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))


def lose_image(files: Path) -> None:
    next((files / "train" / "images").iterdir()).unlink()


def exchange_images(files: Path) -> None:
    one, other = sorted((files / "train" / "images").iterdir())[:2]
    one.rename(files / "kept")
    other.rename(one)
    (files / "kept").rename(other)


def change_box(files: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        values["annotations"][0]["bbox"][2] -= 1

    edit(files / "train", change)


@pytest.mark.parametrize("change", [change_pixels, lose_image, exchange_images, change_box])
def test_a_changed_input_is_never_a_hit(
    change: Callable[[Path], None], files: Path, store: ResultStore, tmp_path: Path
) -> None:
    """A model would be trained on data that is not there any more."""
    prepare(config_of(files), tmp_path / "before", store=store)
    change(files)
    prepare(config_of(files), tmp_path / "after", store=store)
    assert not is_hit(tmp_path / "after")
    prepare(config_of(files), tmp_path / "again", store=store)
    assert is_hit(tmp_path / "again")


def test_an_image_that_appears_or_is_repaired_is_noticed(files: Path, store: ResultStore, tmp_path: Path) -> None:
    """It was dropped before; the dataset without it would be found for ever."""
    lost, broken = sorted((files / "train" / "images").iterdir())[:2]
    right = broken.read_bytes()
    lost.rename(tmp_path / "lost")
    broken.write_bytes(right[: len(right) // 2])
    made = prepare(config_of(files), tmp_path / "made", store=store)
    assert made.summary["train"]["dropped_images"] == 2
    broken.write_bytes(right)
    assert prepare(config_of(files), tmp_path / "repaired", store=store).summary["train"]["dropped_images"] == 1
    (tmp_path / "lost").rename(lost)
    assert prepare(config_of(files), tmp_path / "whole", store=store).summary["train"]["dropped_images"] == 0


def test_a_file_that_no_annotation_names_does_not_count(files: Path, store: ResultStore, tmp_path: Path) -> None:
    """Otherwise a folder of images that grows would never be a hit."""
    prepare(config_of(files), tmp_path / "made", store=store)
    (files / "train" / "images" / "notes.txt").write_text("x")
    prepare(config_of(files), tmp_path / "found", store=store)
    assert is_hit(tmp_path / "found")


def test_images_are_not_read_twice_while_nothing_is_stored(
    files: Path, store: ResultStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first preparation of a large dataset would take longer because of a store."""
    prepare(config_of(files), tmp_path / "made", store=store)
    assert "comparing" not in capsys.readouterr().err
    prepare(config_of(files), tmp_path / "found", store=store)
    assert "comparing train images: 6/6" in capsys.readouterr().err


def voc(files: Path, folder: Path) -> PrepareConfig:
    for split in ("train", "val"):
        coco = json.loads((files / split / ANNOTATIONS).read_text())
        write_voc(coco, files / split / "images", folder, split)
    return PrepareConfig(train=SourceConfig(annotations=str(folder)))


def yolo(files: Path, folder: Path) -> PrepareConfig:
    for split in ("train", "val"):
        coco = json.loads((files / split / ANNOTATIONS).read_text())
        write_yolo(coco, files / split / "images", folder, split)
    return PrepareConfig(train=SourceConfig(annotations=str(folder / "data.yaml")))


def tar(files: Path, folder: Path) -> PrepareConfig:
    folder.mkdir()
    for split in ("train", "val"):
        with tarfile.open(folder / f"{split}.tar", "w") as shard:
            shard.add(files / split / "images", ".")
    sources = {
        split: SourceConfig(annotations=str(files / split / ANNOTATIONS), images=str(folder / f"{split}.tar"))
        for split in ("train", "val")
    }
    return PrepareConfig(**sources)


def drawn_val(files: Path, folder: Path) -> PrepareConfig:
    return PrepareConfig(train=[source(files / "train"), source(files / "val")], val_fraction=0.3)


@pytest.mark.parametrize("kind", [voc, yolo, tar, drawn_val])
def test_every_kind_of_source_is_found_again(
    kind: Callable[[Path, Path], PrepareConfig], files: Path, store: ResultStore, tmp_path: Path
) -> None:
    config = kind(files, tmp_path / "kind")
    made = prepare(config, tmp_path / "made", store=store)
    found = prepare(config, tmp_path / "found", store=store)
    assert is_hit(tmp_path / "found")
    assert found.digest == made.digest
    for name in ("train", "val"):
        before, after = Split.open(tmp_path / "made", name), Split.open(tmp_path / "found", name)
        assert (before.record(0).read() == after.record(0).read()).all()
    assert (tmp_path / "found" / LOCATIONS).read_text() == (tmp_path / "made" / LOCATIONS).read_text()


def test_a_new_image_in_a_folder_that_is_the_list_is_noticed(files: Path, store: ResultStore, tmp_path: Path) -> None:
    """YOLO has no list: an image without a label file is background."""
    config = yolo(files, tmp_path / "kind")
    prepare(config, tmp_path / "made", store=store)
    image = next(iter((tmp_path / "kind").rglob("train/*.png")), None) or next((tmp_path / "kind").rglob("*.jpg"))
    shutil.copyfile(image, image.with_name(f"new{image.suffix}"))
    Image.new("RGB", (40, 32), "green").save(image.with_name(f"new{image.suffix}"))
    prepare(config, tmp_path / "after", store=store)
    assert not is_hit(tmp_path / "after")


@pytest.fixture(scope="module")
def stored(few: Path, tmp_path_factory: pytest.TempPathFactory) -> ResultStore:
    """A store with the dataset of these files."""
    folder = tmp_path_factory.mktemp("stored")
    store = ResultStore.open(str(folder / "store"))
    prepare(config_of(few), folder / "dataset", store=store)
    return store


SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "val_fraction": st.floats(0.3, 0.6).filter(lambda value: value != 0.2),
    "stratify": st.just(False),
    "seed": st.integers(1, 100),
    "max_lost_images": st.floats(0.6, 1),
    "max_lost_annotations": st.floats(0.6, 1),
    "max_leaked_images": st.floats(0.6, 1),
    "range_16bit": st.integers(1, 60000).map(lambda white: (0, white)),
    "max_pixels": st.integers(10_000, 1_000_000),
}


@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_setting_is_no_hit(
    data: st.DataObject, few: Path, stored: ResultStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = data.draw(st.sampled_from(sorted(SETTINGS)))
    output = tmp_path_factory.mktemp("changed") / "dataset"
    prepare(config_of(few, **{name: data.draw(SETTINGS[name])}), output, store=stored)
    # A setting that was drawn before is stored by now.
    origin = json.loads((output / ORIGIN).read_text())["key"] if is_hit(output) else None
    unchanged = tmp_path_factory.mktemp("unchanged") / "dataset"
    prepare(config_of(few), unchanged, store=stored)
    assert is_hit(unchanged)
    assert json.loads((unchanged / ORIGIN).read_text())["key"] != origin


def test_every_setting_is_part_of_the_test_above() -> None:
    """A new setting that is not part of the key would give stale results."""
    assert {*SETTINGS, "train", "val", "test", "test_fraction"} == set(PrepareConfig.model_fields)


def test_annotations_on_s3_are_found_again(files: Path, s3_prefix: str, tmp_path: Path) -> None:
    """The dataset folder then holds the fetched file, which the stored result does not."""
    import boto3

    beside = f"{s3_prefix}-annotations"
    bucket, _, prefix = beside.removeprefix("s3://").partition("/")
    for path in files.rglob("*"):
        if path.is_file():
            boto3.client("s3").upload_file(str(path), bucket, f"{prefix}/files/{path.relative_to(files).as_posix()}")
    on_s3 = [
        SourceConfig(annotations=f"{beside}/files/{split}/{ANNOTATIONS}", images=f"{beside}/files/{split}/images")
        for split in ("train", "val")
    ]
    store = ResultStore.open(s3_prefix)
    config = PrepareConfig(train=on_s3[0], val=on_s3[1])
    made = prepare(config, tmp_path / "made", store=store)
    found = prepare(config, tmp_path / "found", store=store)
    assert is_hit(tmp_path / "found")
    assert found.digest == made.digest == Manifest.read(tmp_path / "found", "dataset", verify=True).digest
    assert found.digest == prepare(config_of(files), tmp_path / "here", store=store).digest
    assert is_hit(tmp_path / "here"), "what is on S3 and what is in a folder is the same"


def test_the_function_takes_a_store_as_the_command_does(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"train": files / "train" / ANNOTATIONS, "images": files / "train" / "images"}
    codetr.prepare(tmp_path / "made", store=tmp_path / "store", **given)
    monkeypatch.setenv("CODETR_STORE", str(tmp_path / "store"))
    found = codetr.prepare(tmp_path / "found", **given)
    assert is_hit(tmp_path / "found")
    assert found.report.splits["train"].images == found.summary["train"]["images"]
    codetr.prepare(tmp_path / "fresh", fresh=True, **given)
    codetr.prepare(tmp_path / "without", store="", **given)
    assert not is_hit(tmp_path / "fresh")
    assert not is_hit(tmp_path / "without")
