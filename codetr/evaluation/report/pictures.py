"""Pictures of the best and the worst images: ground truth beside detections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from codetr.data.segmentation import decode
from codetr.evaluation.metrics.coco import wrong_and_found
from codetr.evaluation.metrics.operating_point import ImageMetrics
from codetr.evaluation.metrics.summary import Metrics
from codetr.visual.drawing import Box, draw_boxes, elide

_GAP = 12
# With more boxes than these a picture cannot be read: first the class names go, then the least certain boxes.
_MOST_NAMES, _MOST_BOXES = 20, 50


@dataclass(frozen=True)
class Choice:
    """Images worth looking at, most telling first."""

    best: list[ImageMetrics]
    worst: list[ImageMetrics]


def choose(metrics: Metrics, count: int) -> Choice:
    """The `count` best and worst images by F1 at the operating point, then by their AP; none is in both.

    Among equals, those with more objects are the better examples of success, and those with more mistakes the
    better examples of failure.
    """
    judged = [entry for entry in metrics.images if entry.f1 is not None]
    rising = sorted(judged, key=lambda entry: (entry.f1, entry.AP or 0.0, -(entry.fp + entry.fn), entry.image_id))
    falling = sorted(
        (entry for entry in judged if entry.tp),
        key=lambda entry: (-(entry.f1 or 0.0), -(entry.AP or 0.0), -entry.ground_truths, entry.image_id),
    )
    worst = [entry for entry in rising if entry.fp or entry.fn][:count]
    shown = {entry.image_id for entry in worst}
    return Choice(best=[entry for entry in falling if entry.image_id not in shown][:count], worst=worst)


def compare(
    image: NDArray[np.uint8],
    ground_truth: dict[str, Any],
    predictions: list[dict[str, Any]],
    threshold: float,
    *,
    masks: bool = False,
    long_side: int = 640,
) -> Image.Image:
    """One picture: the ground truth on the left, the detections on the right (above and below for wide images).

    Solid boxes are objects that were found and detections that are right (IoU 0.50); dashed boxes are objects that
    were missed and detections that are wrong. Crowd regions are grey. In a federated dataset a detection whose class is
    not verified in the image is neither right nor wrong, and solid.

    Args:
        image: (height, width, 3) RGB.
        ground_truth: COCO ground truth that holds this image alone (`images`, `annotations`, `categories`).
        predictions: COCO results of this image; those with at least `threshold` are drawn.
        threshold: lowest score.
        masks: tint objects and detections by their masks.
        long_side: longer side of each half, in pixels.
    """
    labels = {entry["id"]: (k, str(entry["name"])) for k, entry in enumerate(ground_truth["categories"])}
    shown = sorted((p for p in predictions if p["score"] >= threshold), key=lambda p: -p["score"])[:_MOST_BOXES]
    wrong, found = wrong_and_found(ground_truth, shown)
    truth = []
    for number, annotation in enumerate(ground_truth["annotations"]):
        label, name = labels[annotation["category_id"]]
        crowd = bool(annotation.get("iscrowd", 0))
        caption = elide(name, 24)
        truth.append(
            Box(
                _corners(annotation["bbox"]),
                None if crowd else label,
                f"{caption} (crowd)" if crowd else caption,
                dashed=number not in found and not crowd,
                mask=_mask(annotation, image) if masks else None,
            )
        )
    detected = []
    for number, entry in enumerate(shown):
        label, name = labels[entry["category_id"]]
        score = f"{entry['score']:.2f}"
        caption = f"{elide(name, 24)} {score}" if len(shown) <= _MOST_NAMES else score
        mask = _mask(entry, image) if masks else None
        detected.append(Box(_corners(entry["bbox"]), label, caption, dashed=number in wrong, mask=mask))
    detected.reverse()
    halves = [draw_boxes(image, boxes, long_side=long_side) for boxes in (truth, detected)]
    return _join(halves)


def _corners(bbox: list[float]) -> tuple[float, float, float, float]:
    x, y, width, height = bbox
    return x, y, x + width, y + height


def _mask(entry: dict[str, Any], image: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    segmentation = entry.get("segmentation")
    return decode(segmentation, *image.shape[:2]) if segmentation else None


def _join(halves: list[Image.Image]) -> Image.Image:
    """Two pictures of one size side by side, or one above the other when they are much wider than high."""
    width, height = halves[0].size
    stacked = width > 2 * height
    size = (width, 2 * height + _GAP) if stacked else (2 * width + _GAP, height)
    joined = Image.new("RGB", size, (255, 255, 255))
    joined.paste(halves[0], (0, 0))
    joined.paste(halves[1], (0, height + _GAP) if stacked else (width + _GAP, 0))
    draw = ImageDraw.Draw(joined)
    middle = (
        (0, height + _GAP // 2, width, height + _GAP // 2)
        if stacked
        else (width + _GAP // 2, 0, width + _GAP // 2, height)
    )
    draw.line(middle, fill=(210, 214, 220), width=2)
    return joined
