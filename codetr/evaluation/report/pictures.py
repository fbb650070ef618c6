"""Pictures of the best and the worst images: ground truth and detections side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from codetr.data.segmentation import decode
from codetr.evaluation.metrics.metric_spec import IOU50
from codetr.evaluation.metrics.operating_point import ImageMetrics
from codetr.evaluation.metrics.summary import Metrics
from codetr.evaluation.metrics.true_positives import Matches
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable
from codetr.visual.drawing import Box, draw_boxes, elide

_GAP = 12
# With more boxes than these a picture cannot be read: first the class names go, then the boxes with the lowest scores.
_MAX_NAMES, _MAX_BOXES = 20, 50
_MAX_LETTERS = 24


@dataclass(frozen=True)
class ImageChoice:
    """The images that a report shows.

    Attributes:
        best: the best image first.
        worst: the worst image first.
    """

    best: list[ImageMetrics]
    worst: list[ImageMetrics]


def choose(metrics: Metrics, count: int) -> ImageChoice:
    """Return the `count` best and worst images by F1 at the operating point, then by AP; none is in both.

    Of equal images, those with more objects are the better examples of success, and those with more errors the
    better examples of failure.
    """
    rated = [entry for entry in metrics.images if entry.f1 is not None]
    rising = sorted(rated, key=lambda entry: (entry.f1, entry.AP or 0.0, -(entry.fp + entry.fn), entry.image_id))
    falling = sorted(
        (entry for entry in rated if entry.tp),
        key=lambda entry: (-(entry.f1 or 0.0), -(entry.AP or 0.0), -entry.ground_truths, entry.image_id),
    )
    worst = [entry for entry in rising if entry.fp or entry.fn][:count]
    chosen = {entry.image_id for entry in worst}
    return ImageChoice(best=[entry for entry in falling if entry.image_id not in chosen][:count], worst=worst)


def draw_picture(
    pixels: NDArray[np.uint8],
    position: int,
    truth: GroundTruth,
    predictions: PredictionTable,
    matches: Matches,
    threshold: float,
    *,
    masks: bool = False,
    long_side: int = 640,
) -> Image.Image:
    """Draw one picture: the ground truth on the left, the detections on the right (above and below for wide images).

    Solid boxes are detected objects and true positives (IoU 0.50); dashed boxes are missed objects and false positives.
    Objects that do not count, such as crowd regions, are grey. Ignored detections are solid, as are those that take no
    part in the metrics: in a federated dataset, of classes that are not verified in the image.

    Args:
        pixels: (height, width, 3) RGB.
        position: of the image in the ground truth.
        truth: ground truth.
        predictions: detections; those with at least `threshold` are drawn.
        matches: their matches.
        threshold: lowest score.
        masks: tint objects and detections by their masks.
        long_side: longer side of each half, in pixels.
    """
    gt_scores = matches.gt_scores
    objects = []
    for k in np.flatnonzero(truth.image == position).tolist():
        caption = elide(truth.names[truth.label[k]], _MAX_LETTERS)
        ignore = bool(matches.gt_ignore[k])
        objects.append(
            Box(
                _corners(truth.boxes_xywh[k]),
                None if ignore else int(truth.label[k]),
                f"{caption} ({'ignored' if truth.federated else 'crowd'})" if ignore else caption,
                dashed=not ignore and gt_scores[k] < threshold,
                mask=_mask(truth.segmentations[k], pixels) if masks else None,
            )
        )
    shown = np.flatnonzero((predictions.image == position) & (predictions.score >= threshold))
    shown = shown[np.argsort(-predictions.score[shown], kind="stable")][:_MAX_BOXES]
    false_positives = set(matches.dt_index[(matches.image == position) & matches.fp[IOU50]].tolist())
    boxes_xywh, segmentations = predictions.boxes(), predictions.segmentations
    detections = []
    for row in shown.tolist():
        label, caption = int(predictions.label[row]), f"{predictions.score[row]:.2f}"
        if len(shown) <= _MAX_NAMES:
            caption = f"{elide(truth.names[label], _MAX_LETTERS)} {caption}"
        mask = _mask(segmentations[row], pixels) if masks and segmentations is not None else None
        detections.append(Box(_corners(boxes_xywh[row]), label, caption, dashed=row in false_positives, mask=mask))
    detections.reverse()
    return _join([draw_boxes(pixels, boxes, long_side=long_side) for boxes in (objects, detections)])


def _corners(box_xywh: NDArray[np.float64]) -> tuple[float, float, float, float]:
    x, y, width, height = box_xywh.tolist()
    return x, y, x + width, y + height


def _mask(segmentation: Any, pixels: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    return decode(segmentation, *pixels.shape[:2]) if segmentation else None


def _join(halves: list[Image.Image]) -> Image.Image:
    """Join two pictures of one size side by side, or one above the other if they are much wider than high."""
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
