"""Checking image files: orientation by what the boxes fit, ranges of 16 bits, limits of size and memory."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydantic import ValidationError

from codetr.core.errors import RunFailed, UserError
from codetr.data.config import MAX_PIXELS, SourceConfig
from codetr.data.dataset.image_settings import IMAGE_SETTINGS
from codetr.data.dataset.split import Split
from codetr.data.formats.coco_columns import RawAnnotations
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.image_check import ImageChecker
from codetr.data.ingest.image_list import ImageEntry
from codetr.data.ingest.orientation import box_reach, upright_by_boxes
from codetr.data.ingest.summary import read_report
from codetr.data.loading.samples import training_sample
from codetr.data.pixel_limit import PixelBudget, pillow_limit
from codetr.data.storage.image_store import ImageFile
from codetr.data.storage.paths import NoFileError
from codetr.data.validation.ids import ListedIds
from codetr.steps.prepare import prepare

HEIGHT, WIDTH = 30, 40
Box = tuple[float, float, float, float]
FITS_BOTH, ONLY_UPRIGHT, ONLY_STORED = (5, 6, 10, 12), (5, 20, 10, 19), (20, 5, 19, 10)
"""Of an image that is stored with 30 rows and 40 columns."""


def pixels(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def write_turned(path: Path, orientation: int, seed: int = 0) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels(seed)).save(path, exif=exif)


def write_source(folder: Path, images: Sequence[tuple[str, tuple[int, int] | None, Box]]) -> SourceConfig:
    """A COCO file of images in `folder`: name, declared (height, width), box."""
    listed, annotations = [], []
    for k, (name, size, box) in enumerate(images, 1):
        declared = {} if size is None else {"height": size[0], "width": size[1]}
        listed.append({"id": k, "file_name": name, **declared})
        annotations.append({"id": k, "image_id": k, "category_id": 1, "bbox": list(box), "area": box[2] * box[3]})
    content = {"images": listed, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}
    (folder / "train.json").write_text(json.dumps(content))
    return SourceConfig(annotations=str(folder / "train.json"), images=str(folder))


def prepared(source: SourceConfig, output: Path, **settings: Any) -> tuple[Split, dict[str, list[str]]]:
    """The training split, and examples of what was found by kind."""
    prepare(PrepareConfig(train=source, val=source, **settings), output)
    findings = read_report(output).splits["train"].findings
    return Split.open(output, "train"), {finding.name: list(finding.examples) for finding in findings}


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_pixels_sizes_and_findings_agree_whatever_the_format(tmp_path: Path, orientation: int) -> None:
    """Boxes are on the image that viewers show; a size declared like that must give no finding."""
    names = [f"image.{suffix}" for suffix in ("jpg", "png", "webp", "tif", "avif")]
    size = (WIDTH, HEIGHT) if orientation >= 5 else (HEIGHT, WIDTH)
    for name in names:
        write_turned(tmp_path / name, orientation)
    images = [(name, declared, FITS_BOTH) for name in names for declared in (size, None)]
    split, found = prepared(write_source(tmp_path, images), tmp_path / "out")
    for i, (name, _, _) in enumerate(images):
        with Image.open(tmp_path / name) as image:
            expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        record = split.record(i)
        assert (record.height, record.width) == size
        assert record.upright
        assert np.array_equal(record.read(), expected)
        assert np.array_equal(training_sample(record).image, expected)
    assert not {"image_orientation_ignored", "image_size_wrong"} & set(found)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
@pytest.mark.parametrize(
    ("declared_upright", "box", "upright", "found"),
    [
        (False, ONLY_UPRIGHT, True, "image_size_wrong"),
        (False, ONLY_STORED, False, "image_orientation_ignored"),
        (False, FITS_BOTH, False, "image_orientation_ignored"),
        (True, ONLY_STORED, False, "image_orientation_ignored"),
        (True, ONLY_UPRIGHT, True, None),
        (None, ONLY_STORED, False, "image_orientation_ignored"),
        (None, ONLY_UPRIGHT, True, None),
    ],
)
def test_boxes_that_fit_one_orientation_decide(
    tmp_path: Path, suffix: str, declared_upright: bool | None, box: Box, upright: bool, found: str | None
) -> None:
    """Label Studio exports the stored size with boxes of the upright image: every box was on the wrong object."""
    write_turned(tmp_path / f"a.{suffix}", 6)
    size = {True: (WIDTH, HEIGHT), False: (HEIGHT, WIDTH), None: None}[declared_upright]
    split, findings = prepared(write_source(tmp_path, [(f"a.{suffix}", size, box)]), tmp_path / "out")
    record = split.record(0)
    assert record.upright == upright
    assert record.read().shape[:2] == (record.height, record.width) == ((WIDTH, HEIGHT) if upright else (HEIGHT, WIDTH))
    assert ("image_orientation_ignored" in findings) == (found == "image_orientation_ignored")
    assert found is None or found in findings
    assert "box_exceeds_image" not in findings


def test_boxes_that_fit_both_follow_the_other_images(tmp_path: Path) -> None:
    """One export has one convention; only some of its images have a box that shows which."""
    for k in range(3):
        write_turned(tmp_path / f"{k}.jpg", 6, seed=k)
    stored = (HEIGHT, WIDTH)
    images = [("0.jpg", stored, ONLY_UPRIGHT), ("1.jpg", stored, FITS_BOTH), ("2.jpg", stored, FITS_BOTH)]
    split, found = prepared(write_source(tmp_path, images), tmp_path / "same")
    assert [split.record(i).upright for i in range(3)] == [True] * 3
    assert "image_orientation_ignored" not in found
    images[2] = ("2.jpg", stored, ONLY_STORED)
    split, found = prepared(write_source(tmp_path, images), tmp_path / "contradictory")
    assert [split.record(i).upright for i in range(3)] == [True, False, False]
    assert len(found["image_orientation_ignored"]) == 2


SIDES = st.tuples(st.integers(20, 3000), st.integers(20, 3000)).filter(lambda size: size[0] * 1.1 < size[1])


@given(SIDES, st.floats(0.05, 1), st.booleans())
def test_a_box_beyond_one_orientation_decides_for_the_other(size: tuple[int, int], share: float, upright: bool) -> None:
    """`size` is landscape; a box that is longer than the short side fits along the long one only."""
    short, long = size
    reach = short * 1.02 + 1 + share * (long - short * 1.02 - 1)
    if reach <= short * 1.02 + 1.001:
        return
    ends = (reach, short / 2) if upright else (short / 2, reach)
    assert upright_by_boxes((short, long), ends) is upright
    assert upright_by_boxes((long, short), ends) is (not upright)
    assert upright_by_boxes((short, long), (short / 2, short / 3)) is None
    assert upright_by_boxes((short, long), (long * 2, long * 2)) is None


def test_the_reach_of_boxes_does_not_depend_on_how_they_are_written() -> None:
    """Annotations whose fields have other types are not in the table, and are boxes all the same."""
    values = [
        {"image_id": 1, "bbox": [1, 2, 3, 4]},
        {"image_id": "1", "bbox": [10.5, 0, 10, 1]},
        {"image_id": 2, "bbox": [0, 0, 99, 99]},
        {"image_id": 1, "bbox": [0, 0, float("inf"), 1]},
        {"image_id": 1, "bbox": None},
        {"image_id": 1, "bbox": ["0", 0, "30", "1"]},
        {"image_id": 1, "bbox": ["0", 0, "wide", 1]},
        {"image_id": 1, "bbox": [0, 0, 10**400, 1]},
        {"image_id": [1]},
        "no annotation",
    ]
    rows = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 7, 9], "area": 63, "iscrowd": 0}]
    text = json.dumps(rows).encode()
    assert box_reach(RawAnnotations(values), ListedIds([1, 2]), {1}) == {1: (6, 30)}
    assert box_reach(RawAnnotations.of_text(text, 0, len(text), json.loads), ListedIds([1]), {1}) == {1: (9, 7)}


def write_16_bits(path: Path, highest: int) -> None:
    values = np.random.default_rng(highest).integers(highest // 2, highest + 1, (HEIGHT, WIDTH)).astype(np.uint16)
    values[0, 0] = 65535  # a defect of the sensor
    Image.fromarray(values).save(path)


def test_unused_bits_are_found_and_the_setting_uses_them(tmp_path: Path) -> None:
    """12 bits in 16 are black in training, without a word; the setting has to reach whoever reads the dataset."""
    for highest in (4095, 16383):
        write_16_bits(tmp_path / f"{highest}.png", highest)
    write_16_bits(tmp_path / "65535.png", 65535)
    size = (HEIGHT, WIDTH)
    source = write_source(tmp_path, [(f"{highest}.png", size, FITS_BOTH) for highest in (4095, 16383, 65535)])
    split, found = prepared(source, tmp_path / "dark")
    assert len(found["image_bits_unused"]) == 2
    assert split.record(0).read()[1:].max() == 15
    assert not (tmp_path / "dark" / IMAGE_SETTINGS).exists()
    split, found = prepared(source, tmp_path / "scaled", range_16bit=(0, 4095))
    assert "image_bits_unused" not in found
    assert len(found["image_values_clipped"]) == 2
    assert split.record(0).read()[1:].max() == 255
    assert split.range_16bit == (0, 4095)


@pytest.mark.parametrize("levels", [(0, 65536), (-1, 5), (7, 7), (9, 3), (1,), "12"])
def test_a_range_that_is_none_is_refused(levels: Any) -> None:
    with pytest.raises(ValidationError):
        PrepareConfig(train=SourceConfig(annotations="a.json"), range_16bit=levels)


def test_the_limit_of_pixels_is_a_setting(tmp_path: Path) -> None:
    """Above it an image is reported and dropped; what was prepared with a higher one is read with it."""
    Image.fromarray(pixels(0)).save(tmp_path / "a.png")
    Image.fromarray(pixels(1)[:10, :10]).save(tmp_path / "b.png")
    source = write_source(tmp_path, [("a.png", (HEIGHT, WIDTH), FITS_BOTH), ("b.png", (10, 10), (1, 1, 5, 5))])
    split, found = prepared(source, tmp_path / "out", max_pixels=HEIGHT * WIDTH - 1)
    assert len(split) == 1
    assert "has more than 1,199 pixels" in found["image_unreadable"][0]


def test_threads_share_a_budget_of_pixels() -> None:
    """A PNG of 177 megapixels takes gigabytes in each of 32 threads; one that exceeds the budget is decoded alone."""
    budget, lock = PixelBudget(100), threading.Lock()
    held, highest = [], 0

    def work(pixels: int) -> None:
        nonlocal highest
        with budget.take(pixels):
            with lock:
                held.append(min(pixels, 100))
                highest = max(highest, sum(held))
            threading.Event().wait(0.002)
            with lock:
                held.remove(min(pixels, 100))

    threads = [threading.Thread(target=work, args=(pixels,)) for pixels in (30, 60, 250, 40, 10, 99, 100) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 60 <= highest <= 100


def test_the_limit_of_pillow_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is global: a program that uses codetr would lose its guard against decompression bombs."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pillow_limit(MAX_PIXELS):
        assert Image.MAX_IMAGE_PIXELS == MAX_PIXELS
        with pytest.raises(ValueError, match="x"), pillow_limit(5):
            raise ValueError("x")
        assert Image.MAX_IMAGE_PIXELS == MAX_PIXELS
    assert Image.MAX_IMAGE_PIXELS == 1000
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pillow_limit(5):
        assert Image.MAX_IMAGE_PIXELS is None


class _Failing:
    """A folder of images that the system refuses to read."""

    def __init__(self, number: int) -> None:
        self.number = number

    def read(self, name: str) -> ImageFile:
        if name == "missing.jpg":
            raise NoFileError("no such file")
        raise OSError(self.number, os.strerror(self.number), name)

    def find_similar(self, name: str) -> list[str]:
        return ["sub/missing.png"]


@pytest.mark.parametrize("name", ["a.jpg", "missing.jpg"], ids=["named", "similar"])
@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EMFILE, UserError), (errno.ENOMEM, RunFailed), (errno.ESTALE, RunFailed), (errno.EIO, RunFailed)],
)
def test_images_are_not_dropped_because_of_the_machine(number: int, kind: type[Exception], name: str) -> None:
    """A dataset would lose images that are fine, up to half of them, for the limits of the machine that prepares it."""
    with pytest.raises(kind, match=f"(?i){os.strerror(number)}"):
        ImageChecker(_Failing(number)).check(ImageEntry(1, (name,), None))


@pytest.mark.parametrize("name", ["a.jpg", "missing.jpg"], ids=["named", "similar"])
def test_an_image_that_may_not_be_read_is_not_missing(name: str) -> None:
    check = ImageChecker(_Failing(errno.EACCES)).check(ImageEntry(1, (name,), None))
    ((kind, example),) = check.findings
    assert kind == "image_unreadable"
    assert "permission denied" in example
