"""The drawn dataset: the same bytes for the same seed, and annotations that agree with the pixels."""

from __future__ import annotations

import filecmp
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.segmentation import check_segmentation, decode, encode, mask_area, mask_bounding_box
from codetr.data.synthetic import ANNOTATIONS, SHAPES, draw_image, draw_sample_data


def content(folder: Path, split: str) -> dict[str, Any]:
    return json.loads((folder / split / ANNOTATIONS).read_text())


def test_equal_seeds_give_equal_bytes(drawn: Path, tmp_path: Path) -> None:
    draw_sample_data(tmp_path / "same", 25, seed=3, sides=(48, 80))
    names = sorted(path.relative_to(drawn).as_posix() for path in drawn.rglob("*") if path.is_file())
    assert len(names) == 27
    assert filecmp.cmpfiles(drawn, tmp_path / "same", names, shallow=False) == (names, [], [])
    draw_sample_data(tmp_path / "other", 25, seed=4, sides=(48, 80))
    assert filecmp.cmpfiles(drawn, tmp_path / "other", names, shallow=False)[0] == []


def test_more_images_leave_the_first_as_they_are(tmp_path: Path) -> None:
    for count in (4, 8):
        draw_sample_data(tmp_path / str(count), count, seed=1, sides=(32, 40))
    few, many = ({p.name: p.read_bytes() for p in (tmp_path / n).rglob("*.jpg")} for n in ("4", "8"))
    assert len(many) == 8
    assert few.items() <= many.items()


def test_boxes_areas_and_masks_agree(drawn: Path) -> None:
    shapes = set()
    for split in ("train", "val"):
        data = content(drawn, split)
        images = {image["id"]: image for image in data["images"]}
        assert [category["name"] for category in data["categories"]] == list(SHAPES)
        assert len({annotation["id"] for annotation in data["annotations"]}) == len(data["annotations"])
        masks: dict[int, np.ndarray] = {}
        for annotation in data["annotations"]:
            image = images[annotation["image_id"]]
            height, width = image["height"], image["width"]
            checked = check_segmentation(annotation["segmentation"], height, width)
            assert checked is not None
            assert not checked.exceeds_image
            shapes.add(type(checked.value))
            assert mask_area(checked.value, height, width) == annotation["area"] > 0
            assert mask_bounding_box(encode(checked.value, height, width), height, width) == annotation["bbox"]
            # Every visible pixel belongs to one object.
            count = masks.setdefault(image["id"], np.zeros((height, width), int))
            count += decode(checked.value, height, width)
        assert max(mask.max() for mask in masks.values()) == 1
        for image in data["images"]:
            with Image.open(drawn / split / "images" / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"])
    assert shapes == {list, dict}


def test_splits_have_the_requested_sizes_and_share_nothing(tmp_path: Path) -> None:
    counts = draw_sample_data(tmp_path / "data", 10, val_fraction=0.3, sides=(32, 40))
    assert counts == {"train": 7, "val": 3}
    ids = [{image["id"] for image in content(tmp_path / "data", split)["images"]} for split in ("train", "val")]
    assert [len(split) for split in ids] == [7, 3]
    assert not ids[0] & ids[1]


def test_objects_stand_out_and_come_in_several_sizes() -> None:
    """A detector could not learn objects that look like the background."""
    sizes, contrasts, labels = [], [], set()
    for seed in range(40):
        pixels, drawn = draw_image(np.random.default_rng(seed), (144, 192), (1, 6))
        covered = np.zeros(pixels.shape[:2], bool)
        for entry in drawn:
            covered |= entry.mask
        for entry in drawn:
            labels.add(entry.label)
            sizes.append(entry.mask.sum() ** 0.5)
            colour = pixels[entry.mask].mean(0) - pixels[~covered].mean(0)
            contrasts.append(float(np.abs(colour).max()))
    assert labels == set(range(len(SHAPES)))
    assert np.quantile(sizes, 0.1) < 24
    assert np.quantile(sizes, 0.9) > 50
    assert np.quantile(contrasts, 0.05) > 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": 1}, "1 images cannot be divided"),
        ({"val_fraction": 1.0}, "val_fraction 1.0"),
        ({"sides": (64, 32)}, "sides"),
        ({"sides": (8, 32)}, "sides"),
        ({"objects": (0, 3)}, "objects"),
    ],
)
def test_impossible_settings_are_user_errors(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw_sample_data(tmp_path / "data", **options)
    assert not list(tmp_path.iterdir())


def test_only_an_earlier_drawn_set_is_replaced(tmp_path: Path) -> None:
    """Other people's sets have folders named train and val as well; drawing over them would delete them."""
    draw_sample_data(tmp_path / "shapes", 2, sides=(32, 40))
    draw_sample_data(tmp_path / "shapes", 3, sides=(32, 40))
    assert len(list((tmp_path / "shapes").rglob("*.jpg"))) == 3
    annotations = tmp_path / "shapes/train" / ANNOTATIONS
    annotations.write_text(annotations.read_text().replace('"star"', '"cat"'))
    with pytest.raises(UserError, match="no earlier drawn set"):
        draw_sample_data(tmp_path / "shapes", 2, sides=(32, 40))
    assert len(list((tmp_path / "shapes").rglob("*.jpg"))) == 3
