"""Small ground truths and detections drawn by hypothesis, on a coarse grid: equal overlaps, scores and sizes abound."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from codetr.data.segmentation import encode_mask

IMAGES, CLASSES, SIDE = 2, 2, 160

Pair = tuple[dict[str, Any], list[dict[str, Any]]]

_SCORES = st.sampled_from([0.1, 0.25, 0.5, 0.5, 0.75, 0.9])


@st.composite
def box(draw: st.DrawFn) -> list[float]:
    """Near the others, so that many overlap enough; sides of 32 and 96 pixels are those between the size ranges."""
    corner, side = st.sampled_from([0.0, 8.0, 16.0]), st.sampled_from([32.0, 32.0, 48.0, 96.0])
    return [draw(corner), draw(corner), draw(side), draw(side)]


def segmentation(values: list[float]) -> list[list[float]]:
    x, y, width, height = values
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def code(values: list[float]) -> dict[str, Any]:
    x, y, width, height = (int(value) for value in values)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + height, x : x + width] = True
    return encode_mask(mask)


@st.composite
def pairs(draw: st.DrawFn, *, federated: bool = False, masks: bool = False) -> Pair:
    """A ground truth of two images and classes, and at least one detection; boxes of detections repeat objects'."""
    images: list[dict[str, Any]] = [{"id": 10 * i, "height": SIDE, "width": SIDE} for i in range(IMAGES)]
    categories: list[dict[str, Any]] = [{"id": 7 * k, "name": f"class {k}"} for k in range(CLASSES)]
    image_ids, category_ids = (st.sampled_from([entry["id"] for entry in part]) for part in (images, categories))
    if federated:
        for image in images:
            for field in ("neg_category_ids", "not_exhaustive_category_ids"):
                image[field] = draw(st.lists(category_ids, max_size=2, unique=True))
        for category in categories:
            category["frequency"] = draw(st.sampled_from("rcf"))
    annotations: list[dict[str, Any]] = []
    for number in range(draw(st.integers(0, 8))):
        values = draw(box())
        area = draw(st.sampled_from([0.0, 0.5, 1.0, 1.0, 1.0] if federated else [0.5, 1.0])) * values[2] * values[3]
        entry: dict[str, Any] = {"id": number + 1, "bbox": values, "area": area}
        entry |= {"image_id": draw(image_ids), "category_id": draw(category_ids)}
        entry["ignore" if federated else "iscrowd"] = int(draw(st.integers(0, 5)) == 0)
        annotations.append(entry)
    results = []
    for _ in range(draw(st.integers(1, 16))):
        result: dict[str, Any] = {"image_id": draw(image_ids), "category_id": draw(category_ids), "bbox": draw(box())}
        if bool(annotations) and draw(st.booleans()):
            result["bbox"] = draw(st.sampled_from(annotations))["bbox"]
        if federated and not masks and draw(st.integers(0, 9)) == 0:
            result["bbox"] = [*result["bbox"][:3], 0.0]
        results.append({**result, "score": draw(_SCORES)})
    if masks:
        annotations = [{**entry, "segmentation": segmentation(entry["bbox"])} for entry in annotations]
        results = [{**entry, "segmentation": code(entry["bbox"])} for entry in results]
        if draw(st.booleans()):
            results = [{key: value for key, value in entry.items() if key != "bbox"} for entry in results]
    return {"images": images, "categories": categories, "annotations": annotations}, results
