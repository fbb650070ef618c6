"""A drawn dataset with known faults, as COCO files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

from codetr.data.ingest.build import fetch_sources, index_sources
from codetr.data.ingest.config import PrepareConfig
from codetr.data.synthetic import ANNOTATIONS
from codetr.doctor.repair import RepairableFile, repairable

HOSTILE = '"><script>alert(1)</script>{{ 7 * 7 }}'


def write_faulty_dataset(drawn: Path, folder: Path) -> dict[str, int]:
    """Copy a drawn dataset and add faults.

    Returns:
        The number of findings that these faults must lead to, by kind.
    """
    shutil.copytree(drawn, folder)
    files = {name: folder / name / ANNOTATIONS for name in ("train", "val")}
    train, val = (json.loads(file.read_text()) for file in files.values())
    annotations = train["annotations"]
    unused = max(annotation["id"] for annotation in annotations) + 1
    whole = {image["id"] for image in train["images"][4:]}
    large = [a for a in annotations if a["image_id"] in whole and min(a["bbox"][2:]) >= 12]
    inner = [a for a in large if min(a["bbox"][:2]) >= 2]
    a, b, c, d, e, f, g, h = inner[:8]

    def add(annotation: dict[str, Any], **changed: Any) -> None:
        nonlocal unused
        annotations.append({**annotation, "id": unused, **changed})
        unused += 1

    add(a, note="an exact copy")
    add(b, bbox=[b["bbox"][0] + 0.1, *b["bbox"][1:]], note="a near copy")
    add(c, category_id=c["category_id"] % 5 + 1, note="another class")
    d["bbox"] = [d["bbox"][0], d["bbox"][1], d["bbox"][2] * 0.7, d["bbox"][3]]
    e["area"] = e["area"] * 0.4
    f["category_id"] = 99
    g["bbox"] = [*g["bbox"][:2], 0, 5]
    h["segmentation"] = None
    h["area"] = h["bbox"][2] * h["bbox"][3]
    train["images"][0]["width"] += 7
    train["categories"].append({"id": 40, "name": HOSTILE, "note": "unused"})
    train["info"] = {"who": "me", "when": [1, 2.50]}

    root = folder / "train" / "images"
    (root / train["images"][1]["file_name"]).unlink()
    first = train["images"][2]["file_name"]
    shutil.copy(root / first, folder / "val" / "images" / "leak.png")
    val["images"].append({**train["images"][2], "id": 7001, "file_name": "leak.png"})
    with Image.open(root / train["images"][3]["file_name"]) as image:
        smaller = image.convert("RGB").resize((image.width * 3 // 4, image.height * 3 // 4))
    smaller.save(folder / "val" / "images" / "alike.jpg", quality=90)
    size = {"width": smaller.width, "height": smaller.height}
    val["images"].append({"id": 7002, "file_name": "alike.jpg", **size})
    for file, content in zip(files.values(), (train, val), strict=True):
        file.write_text(json.dumps(content))
    lost = sum(annotation["image_id"] == train["images"][1]["id"] for annotation in annotations)
    return {
        "annotation_repeated": 1,
        "box_nearly_repeated": 1,
        "box_of_two_classes": 1,
        "box_disagrees_with_segmentation": 1,
        "area_disagrees_with_segmentation": 1,
        "annotation_category_unknown": 1,
        "box_empty": 1,
        "segmentation_missing": 1,
        "image_size_wrong": 1,
        "image_missing": 1,
        "annotation_image_dropped": lost,
        "image_leaked": 1,
        "image_nearly_leaked": 1,
        "class_unused": 1,
    }


def index_files(folder: Path, boxes: str = "xywh", /, **files: tuple[Path, Path]) -> dict[str, RepairableFile]:
    """Index annotation files into a new folder, and record what is read, so that they can be repaired.

    Args:
        folder: where the index goes.
        boxes: how their boxes are written.
        files: (annotation file, image folder) by split.
    """
    folder.mkdir()
    sources = {
        split: {"annotations": str(file), "images": str(images), "boxes": boxes}
        for split, (file, images) in files.items()
    }
    fetched = fetch_sources(PrepareConfig.parse(sources, where="test"), folder)
    recorded = repairable(fetched)
    index_sources(fetched, folder, recorders={split: file.record for split, file in recorded.items()})
    return recorded
