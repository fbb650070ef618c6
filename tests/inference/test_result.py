"""A result: its arrays and objects, the drawn picture, and COCO entries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

import codetr
from codetr.core.errors import UserError
from codetr.visual.drawing import class_colour
from tests.support.models.finder import Finder, scene
from tests.support.models.small_models import CATEGORY_IDS, NAMES

BOXES = ((5, 10, 45, 30), (50, 5, 70, 35), (20, 32, 30, 38))


@pytest.fixture
def result() -> codetr.Result:
    return Finder().predict(scene(40, 80, *BOXES))


def test_a_result_is_arrays_and_a_sequence_of_objects(result: codetr.Result) -> None:
    assert len(result) == 3
    assert result.boxes.tolist() == [list(box) for box in BOXES]
    assert result.boxes.dtype == result.scores.dtype == np.float32
    assert result.labels.tolist() == [1, 2, 0]
    assert result.names == [NAMES[1], NAMES[2], NAMES[0]]
    assert result.masks is not None
    assert result.masks.shape == (3, 40, 80)
    assert result.masks.dtype == bool
    for k, found in enumerate(result):
        assert found.box == BOXES[k]
        assert (found.score, found.label, found.name) == (result.scores[k], result.labels[k], result.names[k])
        assert found.mask is not None
        assert np.array_equal(found.mask, result.masks[k])
    assert "1 square" in repr(result)


def test_some_of_the_objects_are_a_result_again(result: codetr.Result) -> None:
    assert result[0].box == BOXES[0]
    assert result[-1].box == BOXES[2]
    with pytest.raises(IndexError):
        result[3]
    assert result[1:].boxes.tolist() == [list(box) for box in BOXES[1:]]
    assert result[result.labels == 2].names == [NAMES[2]]
    assert result[[2, 0]].boxes.tolist() == [list(BOXES[2]), list(BOXES[0])]
    assert len(result[[]]) == 0
    middle = float(result.scores[1])
    filtered = result.filter(middle)
    assert filtered.scores.tolist() == result.scores[:2].tolist()
    assert filtered.masks is not None
    assert len(filtered.masks) == 2


def test_the_picture_has_the_size_of_the_image_and_shows_the_objects(result: codetr.Result, tmp_path: Path) -> None:
    picture = result[[1]].draw()
    assert picture.size == (80, 40)
    assert picture.getpixel((50, 20)) == class_colour(2)  # on the left side of the box
    assert result.draw(long_side=160).size == (160, 80)
    result.save(tmp_path / "deep/out.png")
    with Image.open(tmp_path / "deep/out.png") as written:
        assert written.size == (80, 40)
    for name in ("out.txt", "out"):
        with pytest.raises(UserError, match="not an image format"):
            result.save(tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["out.png"]


def test_the_image_of_a_file_is_not_kept_in_memory(tmp_path: Path) -> None:
    """Otherwise the results of ten thousand photographs would hold all their pixels."""
    Image.fromarray(scene(40, 80, *BOXES)).save(tmp_path / "a.png")
    result = Finder().predict(tmp_path / "a.png")
    assert result.pixels is None
    assert result.path == tmp_path / "a.png"
    assert np.array_equal(result.image, scene(40, 80, *BOXES))
    assert result.draw().size == (80, 40)


def test_coco_entries_are_read_back_by_pycocotools(result: codetr.Result) -> None:
    """Boxes are [x, y, width, height] there, and masks run-length codes over the whole image."""
    truth = COCO()
    truth.dataset = {
        "images": [{"id": 7, "height": 40, "width": 80}],
        "categories": [{"id": k, "name": name} for k, name in zip(CATEGORY_IDS, NAMES, strict=True)],
        "annotations": [],
    }
    truth.createIndex()
    entries = json.loads(json.dumps(result.to_coco(7, CATEGORY_IDS)))
    read = truth.loadRes(entries)
    loaded = read.loadAnns(read.getAnnIds(imgIds=[7]))
    assert len(loaded) == 3
    assert result.masks is not None
    for entry, (left, top, right, bottom), label, score, mask in zip(
        loaded, BOXES, result.labels, result.scores, result.masks, strict=True
    ):
        assert entry["bbox"] == [left, top, right - left, bottom - top]
        assert entry["category_id"] == CATEGORY_IDS[label]
        assert np.float32(entry["score"]) == score
        assert np.float32(entry["mask_score"]) == np.float32(score * np.float32(0.5))
        assert np.array_equal(coco_mask.decode(entry["segmentation"]).astype(bool), mask)
    assert [entry["category_id"] for entry in result.to_coco()] == result.labels.tolist()
    with pytest.raises(UserError, match="has 2 ids for 3 classes"):
        result.to_coco(7, [1, 2])


def test_nothing_found_is_a_result_like_any_other() -> None:
    result = Finder().predict(scene(40, 80))
    assert len(result) == 0
    assert list(result) == result.to_coco() == result.names == []
    assert result.boxes.shape == (0, 4)
    assert result.masks is not None
    assert result.masks.shape == (0, 40, 80)
    assert result.draw().size == (80, 40)
    assert "nothing" in repr(result)
