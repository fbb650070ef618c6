"""prepare on real datasets: nothing lost, nothing changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codetr.data.config import AugmentConfig, CropConfig, LoaderConfig, PreprocessConfig, SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import read_report
from codetr.data.loading.loader import TrainLoader
from codetr.steps.prepare import prepare

KEPT = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")


def source(data: Path, name: str, split: str) -> SourceConfig:
    return SourceConfig(
        annotations=str(data / name / "annotations" / f"{split}.json"), images=str(data / name / "images")
    )


@pytest.mark.parametrize(
    ("name", "splits", "findings"),
    [
        ("bccd", {"train": (205, 2804), "val": (87, 1137), "test": (72, 945)}, {}),
        ("coco128", {"train": (128, 939), "val": (50, 382)}, {}),
    ],
)
def test_index_equals_the_annotation_files(
    data: Path, tmp_path: Path, name: str, splits: dict[str, tuple[int, int]], findings: dict[str, int]
) -> None:
    """Category ids with gaps, crowds and every coordinate come back to the last bit."""
    prepare(PrepareConfig(**{split: source(data, name, split) for split in splits}), tmp_path / "dataset")
    report = read_report(tmp_path / "dataset")
    for split, (images, objects) in splits.items():
        original = json.loads((data / name / "annotations" / f"{split}.json").read_text())
        found = Split.open(tmp_path / "dataset", split).to_coco()
        assert len(found["images"]) == len(original["images"]) == images
        assert len(found["annotations"]) == len(original["annotations"]) == objects
        by_id = {annotation["id"]: annotation for annotation in original["annotations"]}
        for annotation in found["annotations"]:
            assert all(annotation[key] == by_id[annotation["id"]][key] for key in KEPT)
            assert annotation.get("segmentation", []) == by_id[annotation["id"]].get("segmentation", [])
        assert sorted(category["id"] for category in original["categories"]) == [
            category["id"] for category in found["categories"]
        ]
        assert {finding.name: finding.count for finding in report.splits[split].findings} == findings


def test_crowds_of_coco_are_not_trained_on(data: Path, tmp_path: Path) -> None:
    config = PrepareConfig(train=source(data, "coco128", "train"), val=source(data, "coco128", "val"))
    prepare(config, tmp_path / "dataset")
    report = read_report(tmp_path / "dataset")
    assert (report.splits["train"].crowds, report.splits["val"].crowds) == (10, 5)
    assert report.splits["train"].trainable == 939 - 10
    assert report.splits["train"].empty_images == report.splits["val"].empty_images == 2
    small = AugmentConfig(short_sides=(96,), long_side=160, crop=CropConfig(probability=0))
    split = Split.open(tmp_path / "dataset", "train")
    loader = TrainLoader(split, small, PreprocessConfig(), LoaderConfig(batch_size=8, workers=0), seed=0)
    assert sum(len(target) for _, targets in loader.epoch(0) for target in targets) == 939 - 10
