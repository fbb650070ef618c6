"""Images of val that are in train: reported if they are few, refused if they are most, allowed if that is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.config import SourceConfig
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import read_report
from codetr.steps.prepare import prepare


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(6):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (20, 30, 3), np.uint8)).save(folder / f"{k}.png")
    return folder


def source(images: Path, name: str, *numbers: int) -> SourceConfig:
    content: dict[str, Any] = {
        "images": [{"id": k, "file_name": f"{k}.png", "width": 30, "height": 20} for k in numbers],
        "annotations": [{"id": k + 1, "image_id": k, "category_id": 1, "bbox": [2, 2, 9, 9]} for k in numbers],
        "categories": [{"id": 1, "name": "cat"}],
    }
    file = images.parent / name
    file.write_text(json.dumps(content))
    return SourceConfig(annotations=str(file), images=str(images))


def test_a_val_of_images_of_train_is_refused(images: Path, tmp_path: Path) -> None:
    """Its metrics say how well the model has learned the images by heart, and look splendid."""
    train, val = source(images, "train.json", 0, 1, 2, 3), source(images, "val.json", 1, 2, 3, 4)
    with pytest.raises(UserError, match=r"val\.json: 3 of the 4 images of 'val' are also in train, e\.g\. '1\.png'"):
        prepare(PrepareConfig(train=(train,), val=(val,)), tmp_path / "dataset")
    prepare(PrepareConfig(train=(train,), val=(val,), max_leaked_images=0.8), tmp_path / "dataset")


def test_a_copy_of_train_under_another_name_is_refused(images: Path, tmp_path: Path) -> None:
    train = source(images, "train.json", 0, 1, 2)
    shutil.copy(tmp_path / "train.json", tmp_path / "val.json")
    val = train.model_copy(update={"annotations": str(tmp_path / "val.json")})
    with pytest.raises(UserError, match="3 of the 3 images of 'val'"):
        prepare(PrepareConfig(train=(train,), val=(val,)), tmp_path / "dataset")


def test_few_leaks_and_sources_named_twice_are_reported(images: Path, tmp_path: Path) -> None:
    """To learn a few images by heart is a usual test of a training."""
    train, val = source(images, "train.json", 0, 1, 2, 3), source(images, "val.json", 3, 4)
    prepare(PrepareConfig(train=(train,), val=(val,)), tmp_path / "few")
    again = train.model_copy(update={"annotations": f"{tmp_path}/images/../train.json"})
    prepare(PrepareConfig(train=(train,), val=(again,)), tmp_path / "same")
    counts = [read_report(tmp_path / name).splits["val"].findings[0].to_json() for name in ("few", "same")]
    assert [(count["name"], count["count"]) for count in counts] == [("image_leaked", 1), ("image_leaked", 4)]
