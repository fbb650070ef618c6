"""A small dataset folder and a small model folder, both real, for tests of what reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from codetr.core.manifest import Manifest
from codetr.data.config import PreprocessConfig, SourceConfig
from codetr.data.ingest.config import PrepareConfig
from codetr.models.config import MaskHeadConfig
from codetr.models.detector import build_detector
from codetr.steps.prepare import prepare
from codetr.weights.model_folder import ModelInfo, save_model
from tests.support.training.tiny_training import tiny_config

NAMES = ("square", "disc", "cross")
CATEGORY_IDS = (2, 3, 17)
PREPROCESS = PreprocessConfig(short_side=64, long_side=96)


def write_images(folder: Path, count: int) -> list[tuple[int, int]]:
    """Noise images of different sizes; returns (height, width) of each."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    sizes = [(int(draw.integers(40, 90)), int(draw.integers(40, 90))) for _ in range(count)]
    for i, size in enumerate(sizes):
        Image.fromarray(draw.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return sizes


def write_dataset(folder: Path, images: int, *, federated: bool = False) -> Path:
    """Prepare a dataset of which train and val are the same images, with ids in another order than the files.

    Federated, as LVIS: only the classes of annotated objects and "cross" are verified, and not all discs are annotated.
    """
    sizes = write_images(folder / "images", images)
    boxes = [(i, k, [5.0 + 7 * k, 5.0, 20.0, 25.5 - k]) for i in range(images) for k in range(3)]
    values: dict[str, Any] = {
        "images": [
            {"id": 100 - i, "file_name": f"{i}.png", "height": height, "width": width}
            for i, (height, width) in enumerate(sizes)
        ],
        "categories": [{"id": k, "name": name} for k, name in zip(CATEGORY_IDS, NAMES, strict=True)],
        "annotations": [
            {"id": n, "image_id": 100 - i, "category_id": CATEGORY_IDS[k], "bbox": box, "area": 300.0, "iscrowd": 0}
            for n, (i, k, box) in enumerate(boxes)
        ],
    }
    if federated:
        values["annotations"] = [entry for entry in values["annotations"] if entry["category_id"] != CATEGORY_IDS[2]]
        for image in values["images"]:
            image |= {"neg_category_ids": [CATEGORY_IDS[2]], "not_exhaustive_category_ids": [CATEGORY_IDS[1]]}
        for category, frequency in zip(values["categories"], "rcf", strict=True):
            category["frequency"] = frequency
    (folder / "annotations.json").write_text(json.dumps(values))
    source = SourceConfig(annotations=str(folder / "annotations.json"), images=str(folder / "images"))
    prepare(PrepareConfig(train=source, val=source), folder / "dataset")
    return folder / "dataset"


def masked() -> dict[str, Any]:
    """Changes that make the detector detect with masks, by its RoI head."""
    roi = tiny_config().roi
    assert roi is not None
    return {"roi": roi.model_copy(update={"mask": MaskHeadConfig(convs=1)}), "detect_head": "roi"}


def write_model(folder: Path, names: tuple[str, ...] = NAMES, **changes: Any) -> Path:
    """A detector with random weights, which detects something everywhere; `changes` are of its configuration."""
    torch.manual_seed(0)
    config = tiny_config().model_copy(update={"num_classes": len(names), **changes})
    folder.mkdir()
    info = ModelInfo(recipe="small", class_names=names, model=config, preprocess=PREPROCESS)
    save_model(folder, build_detector(config).state_dict(), info)
    Manifest.of(folder, "model").write(folder)
    return folder
