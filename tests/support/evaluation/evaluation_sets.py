"""Small ground truths and detections to measure."""

from __future__ import annotations

import random
from typing import Any

from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable


def truth(
    boxes: list[tuple[int, int, list[float]]], images: int = 2, classes: int = 2, **fields: Any
) -> dict[str, Any]:
    """Ground truth from (image id, category id, box)."""
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": 200, "width": 300} for i in range(1, images + 1)],
        "categories": [{"id": k, "name": f"class {k}"} for k in range(1, classes + 1)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": k, "bbox": box, "area": box[2] * box[3], "iscrowd": 0, **fields}
            for n, (i, k, box) in enumerate(boxes, start=1)
        ],
    }


def sides(ground_truth: dict[str, Any], predictions: list[dict[str, Any]]) -> tuple[GroundTruth, PredictionTable]:
    """Both as arrays."""
    arrays = GroundTruth.of_coco(ground_truth)
    return arrays, PredictionTable.of_coco(predictions, arrays)


def detection(image: int, category: int, box: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def random_set(seed: int, images: int = 12, classes: int = 4) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Crowds, ties, missed objects, false detections, and an image with more than 100 detections of one class."""
    draw = random.Random(seed)

    def box() -> list[float]:
        return [draw.uniform(0, 200), draw.uniform(0, 150), draw.uniform(1, 150), draw.uniform(1, 150)]

    objects = [(draw.randint(1, images), draw.randint(1, classes), box()) for _ in range(60)]
    ground_truth = truth(objects, images, classes)
    for annotation in ground_truth["annotations"]:
        annotation["iscrowd"] = int(draw.random() < 0.1)
    found = []
    for image, category, (x, y, width, height) in objects:
        if draw.random() < 0.8:
            moved = [x + draw.gauss(0, 4), y + draw.gauss(0, 4), width, height]
            found.append(detection(image, category, moved, round(draw.random(), 1)))
    found += [
        detection(draw.randint(1, images), draw.randint(1, classes), box(), round(draw.random(), 1)) for _ in range(40)
    ]
    found += [detection(1, 1, box(), round(draw.random(), 2)) for _ in range(130)]
    draw.shuffle(found)
    return ground_truth, found
