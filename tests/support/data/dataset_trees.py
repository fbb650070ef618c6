"""Write COCO annotations as a Pascal VOC folder and as a YOLO dataset, as other tools do."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any
from xml.sax.saxutils import escape

import yaml


def write_voc(coco: dict[str, Any], images: Path, folder: Path, split: str) -> None:
    """Add a split to the VOC folder `folder`; the images are linked."""
    names = {category["id"]: category["name"] for category in coco["categories"]}
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for image, objects in _by_image(coco):
        name = PurePosixPath(image["file_name"])
        _link(images / name, folder / "JPEGImages" / name)
        rows = [
            f"<annotation><filename>{escape(str(name))}</filename>",
            f"<size><width>{image['width']}</width><height>{image['height']}</height><depth>3</depth></size>",
        ]
        for annotation in objects:
            x, y, w, h = annotation["bbox"]
            box = {"xmin": x + 1, "ymin": y + 1, "xmax": x + w, "ymax": y + h}
            sides = "".join(f"<{side}>{value:.10g}</{side}>" for side, value in box.items())
            rows.append(
                f"<object><name>{escape(names[annotation['category_id']])}</name><pose>Unspecified</pose>"
                f"<truncated>1</truncated><difficult>{annotation.get('iscrowd', 0)}</difficult>"
                f"<bndbox>{sides}</bndbox></object>"
            )
        path = folder / "Annotations" / name.with_suffix(".xml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*rows, "</annotation>"]))
    stems = [str(PurePosixPath(image["file_name"]).with_suffix("")) for image in coco["images"]]
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems) + "\n")


def write_yolo(coco: dict[str, Any], images: Path, folder: Path, split: str, *, polygons: bool = False) -> None:
    """Add a split to the YOLO dataset `folder`; the images are linked."""
    numbers = {category["id"]: number for number, category in enumerate(coco["categories"])}
    for part in ("images", "labels"):
        (folder / part / split).mkdir(parents=True, exist_ok=True)
    for image, objects in _by_image(coco):
        name = PurePosixPath(image["file_name"])
        _link(images / name, folder / "images" / split / name)
        sides = image["width"], image["height"]
        rows = []
        for annotation in objects:
            x, y, w, h = annotation["bbox"]
            values = [x + w / 2, y + h / 2, w, h]
            if polygons:
                values = annotation["segmentation"][0]
            shares = (f"{value / sides[position % 2]:.12g}" for position, value in enumerate(values))
            rows.append(" ".join([str(numbers[annotation["category_id"]]), *shares]))
        if rows:
            label = folder / "labels" / split / name.with_suffix(".txt")
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("\n".join(rows) + "\n")
    path = folder / "data.yaml"
    data = yaml.safe_load(path.read_text()) if path.exists() else {"path": "."}
    data |= {split: f"images/{split}", "names": {numbers[c["id"]]: c["name"] for c in coco["categories"]}}
    path.write_text(yaml.safe_dump(data))


def _by_image(coco: dict[str, Any]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    annotations = defaultdict(list)
    for annotation in coco["annotations"]:
        annotations[annotation["image_id"]].append(annotation)
    return [(image, annotations[image["id"]]) for image in coco["images"]]


def _link(source: Path, target: Path) -> None:
    """A hard link where the file system allows it: symbolic links would lead out of the dataset."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        target.write_bytes(source.read_bytes())
