"""References for the metrics: pycocotools, lvis, and LVIS's rules spelled out one detection at a time."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import lvis
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from codetr.data.segmentation import encode

RANGES = {"": (0, 1e10), "s": (0, 1024), "m": (1024, 9216), "l": (9216, 1e10)}


def pycocotools_run(ground_truth: dict[str, Any], results: list[dict[str, Any]], iou_type: str = "bbox") -> COCOeval:
    """A finished run of pycocotools, on copies."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(ground_truth)
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), iou_type)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def lvis_run(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], iou_type: str = "bbox"
) -> dict[str, float | None]:
    """The 13 numbers of the package lvis, on copies."""
    truth = lvis.LVIS.__new__(lvis.LVIS)
    truth.logger, truth.dataset = _Quiet(), copy.deepcopy(ground_truth)
    truth._create_index()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "float", float, raising=False)  # gone since NumPy 1.24
        run = lvis.LVISEval(truth, lvis.LVISResults(truth, copy.deepcopy(results)), iou_type)
        run.run()
    return {name: None if value == -1 else value for name, value in run.results.items()}


class _Quiet:
    def info(self, message: str) -> None: ...


def plain_lvis(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], iou_type: str = "bbox", most: int = 300
) -> dict[str, float | None]:
    """The 13 numbers of LVIS as its paper and its program define them, slowly."""
    images = sorted(ground_truth["images"], key=lambda entry: entry["id"])
    categories = sorted(ground_truth["categories"], key=lambda entry: entry["id"])
    objects = [entry for entry in ground_truth["annotations"] if entry["area"] > 0]
    kept = []
    for image in images:
        detections = [entry for entry in results if entry["image_id"] == image["id"]]
        kept += sorted(detections, key=lambda entry: -entry["score"])[: None if most < 0 else most]
    curves: dict[tuple[int, str, int], tuple[list[float], float] | None] = {}
    for category in categories:
        for size in RANGES:
            for t in range(10):
                curves[category["id"], size, t] = _curve(images, objects, kept, category["id"], size, t, iou_type)

    def mean(values: list[float]) -> float | None:
        return float(np.mean(values)) if values else None

    def ap(size: str = "", thresholds: range = range(10), group: str | None = None) -> float | None:
        chosen = [entry["id"] for entry in categories if group in (None, entry.get("frequency"))]
        found = [curves[identifier, size, t] for t in thresholds for identifier in chosen]
        return mean([value for curve in found if curve for value in curve[0]])

    def ar(size: str = "") -> float | None:
        return mean([curve[1] for key, curve in curves.items() if curve and key[1] == size])

    numbers = {"AP": ap(), "AP50": ap(thresholds=range(1)), "AP75": ap(thresholds=range(5, 6))}
    numbers |= {f"AP{size}": ap(size) for size in "sml"} | {f"AP{group}": ap(group=group) for group in "rcf"}
    return numbers | {f"AR{size}@{most}": ar(size) for size in RANGES}


def _curve(
    images: list[dict[str, Any]],
    objects: list[dict[str, Any]],
    results: list[dict[str, Any]],
    category: int,
    size: str,
    t: int,
    iou_type: str,
) -> tuple[list[float], float] | None:
    """Precision at 101 recalls, and the highest recall; None without objects to be found."""
    low, high = RANGES[size]
    outcomes: list[tuple[float, bool]] = []
    total = 0
    for image in images:
        things = [a for a in objects if (a["image_id"], a["category_id"]) == (image["id"], category)]
        if not things and category not in image["neg_category_ids"]:
            continue
        skipped = [bool(thing.get("ignore", 0)) or not low <= thing["area"] <= high for thing in things]
        total += skipped.count(False)
        free = set(range(len(things)))
        detections = [
            d for d in results if (d["image_id"], d["category_id"]) == (image["id"], category) and _area(d) > 0
        ]
        for detection in sorted(detections, key=lambda entry: -entry["score"]):
            overlaps = {k: _overlap(detection, things[k], image, iou_type) for k in free}
            near = [k for k in sorted(free) if overlaps[k] >= np.linspace(0.5, 0.95, 10)[t]]
            # Objects that count come first, then the overlap decides, then the later object.
            best = max(near, key=lambda k: (not skipped[k], overlaps[k], k), default=None)
            if best is not None:
                free.remove(best)
                if not skipped[best]:
                    outcomes.append((detection["score"], True))
            elif low <= _area(detection) <= high and category not in image["not_exhaustive_category_ids"]:
                outcomes.append((detection["score"], False))
    if not total:
        return None
    outcomes.sort(key=lambda outcome: -outcome[0])
    right, points = 0, []
    for number, (_, hit) in enumerate(outcomes, start=1):
        right += hit
        points.append((right / total, right / number))
    levels = np.linspace(0, 1, 101)
    precision = [max((p for recall, p in points if recall >= level), default=0.0) for level in levels]
    return precision, right / total


def _area(detection: dict[str, Any]) -> float:
    if "bbox" in detection:
        return detection["bbox"][2] * detection["bbox"][3]
    return float(coco_mask.area(detection["segmentation"]))


def _overlap(detection: dict[str, Any], thing: dict[str, Any], image: dict[str, Any], iou_type: str) -> float:
    if iou_type == "bbox":
        return float(coco_mask.iou([detection["bbox"]], [thing["bbox"]], [0])[0, 0])
    code = encode(thing["segmentation"], image["height"], image["width"])
    return float(coco_mask.iou([detection["segmentation"]], [code], [0])[0, 0])
