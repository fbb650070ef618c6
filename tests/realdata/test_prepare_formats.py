"""prepare on real data written as Pascal VOC and as YOLO: the boxes and segmentations that the COCO file gives."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codetr.data.config import SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import read_report
from codetr.steps.prepare import prepare
from tests.support.data.dataset_trees import write_voc, write_yolo

SPLITS = ("train", "val", "test")


def read(data: Path, name: str, split: str) -> dict[str, Any]:
    return json.loads((data / name / "annotations" / f"{split}.json").read_text())


def objects(coco: dict[str, Any]) -> dict[str, list[tuple[str, list[float]]]]:
    """Class name and box of every object, by the file name of the image."""
    names = {category["id"]: category["name"] for category in coco["categories"]}
    files = {image["id"]: Path(image["file_name"]).name for image in coco["images"]}
    found: dict[str, list[tuple[str, list[float]]]] = {file: [] for file in files.values()}
    for annotation in coco["annotations"]:
        found[files[annotation["image_id"]]].append((names[annotation["category_id"]], annotation["bbox"]))
    return found


@pytest.mark.parametrize("write", [write_voc, write_yolo])
def test_bccd_in_another_format_gives_the_same_boxes(data: Path, tmp_path: Path, write: Any) -> None:
    source = tmp_path / "tree"
    for split in SPLITS:
        write(read(data, "bccd", split), data / "bccd" / "images", source, split)
    config = SourceConfig(annotations=str(source / "data.yaml" if write is write_yolo else source))
    prepare(PrepareConfig(train=config, val=config, test=config), tmp_path / "dataset")
    report = read_report(tmp_path / "dataset")
    for split in SPLITS:
        expected = objects(read(data, "bccd", split))
        found = Split.open(tmp_path / "dataset", split).to_coco()
        assert [image["id"] for image in found["images"]] == list(range(1, len(expected) + 1))
        actual = objects(found)
        assert actual.keys() == expected.keys()
        for file, listed in expected.items():
            assert [name for name, _ in actual[file]] == [name for name, _ in listed]
            found_boxes, listed_boxes = (np.array([box for _, box in part]) for part in (actual[file], listed))
            np.testing.assert_allclose(found_boxes, listed_boxes, atol=1e-6)
        findings = {finding.name for finding in report.splits[split].findings}
        # YOLO's labels say nothing of the images' sizes; they are read from the files.
        assert findings <= {"annotation_repeated"}


def test_polygons_of_balloon_in_yolo_give_the_same_masks(data: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_yolo(read(data, "balloon", split), data / "balloon" / "images", tmp_path / "yolo", split, polygons=True)
    config = SourceConfig(annotations=str(tmp_path / "yolo" / "data.yaml"))
    prepare(PrepareConfig(train=config, val=config), tmp_path / "dataset")
    original = read(data, "balloon", "val")
    polygons = defaultdict(list)
    files = {image["id"]: image["file_name"] for image in original["images"]}
    for annotation in original["annotations"]:
        polygons[files[annotation["image_id"]]].append(annotation)
    val = Split.open(tmp_path / "dataset", "val")
    for i in range(len(val)):
        record = val.record(i)
        for k, annotation in enumerate(polygons[record.path.name]):
            polygons_of_object = record.segmentation(k)
            assert isinstance(polygons_of_object, list)
            np.testing.assert_allclose(polygons_of_object[0], annotation["segmentation"][0], atol=1e-6)
            xs, ys = annotation["segmentation"][0][0::2], annotation["segmentation"][0][1::2]
            bounds = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
            np.testing.assert_allclose(record.boxes_xywh[k], bounds, atol=1e-6)
            # The rasterised mask and the polygon differ by at most a pixel along the segmentation.
            assert abs(record.areas[k] - record.mask(k).sum()) <= 2 * sum(bounds[2:])


def test_a_drawn_val_of_coco_has_every_class_that_can_be_shared(data: Path, tmp_path: Path) -> None:
    source = SourceConfig(
        annotations=str(data / "coco128" / "annotations" / "train.json"), images=str(data / "coco128" / "images")
    )
    prepare(PrepareConfig(train=source, val_fraction=0.3), tmp_path / "dataset")
    report = read_report(tmp_path / "dataset")
    shared = [entry for entry in report.classes if sum(entry.images.values()) > 1]
    assert len(shared) > 40
    assert [entry.name for entry in shared if not all(entry.images.values())] == []


@pytest.mark.parametrize("write", [write_voc, write_yolo])
def test_odd_images_are_judged_as_those_of_coco(data: Path, tmp_path: Path, write: Any) -> None:
    """Broken, huge and turned images must neither stop the reading of labels nor be judged differently."""
    images = data / "odd" / "images"
    content = json.loads((data / "odd" / "annotations" / "all_odd_images.json").read_text())
    # Both formats tell images by their names without suffix, and YOLO images from other files by the suffix.
    there = [
        path for image in content["images"] if (path := Path(image["file_name"])).suffix and (images / path).exists()
    ]
    stems = {path.with_suffix(""): path for path in there}
    content["images"] = [image for image in content["images"] if Path(image["file_name"]) in stems.values()]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] in kept]
    (tmp_path / "coco.json").write_text(json.dumps(content))
    write(content, images, tmp_path / "tree", "train")
    usable = []
    for source in (
        SourceConfig(annotations=str(tmp_path / "coco.json"), images=str(images)),
        SourceConfig(annotations=str(tmp_path / "tree" / ("data.yaml" if write is write_yolo else "."))),
    ):
        config = PrepareConfig(train=source, test_fraction=0.1, max_lost_images=1)
        prepare(config, tmp_path / "dataset", overwrite=True)
        splits = [Split.open(tmp_path / "dataset", name) for name in ("train", "val", "test")]
        usable.append({split.path(i).name for split in splits for i in range(len(split))})
        findings = {
            finding.name: finding.count for finding in read_report(tmp_path / "dataset").splits["train"].findings
        }
        assert findings["image_unreadable"] == len(kept) - len(usable[-1])
    assert usable[0] == usable[1]
    assert len(usable[0]) > 10
