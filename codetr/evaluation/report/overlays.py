"""Example images for the report: a plain picture, and boxes over it that the reader filters by score.

Whether a detection is a true positive does not depend on those with lower scores, so that one list of boxes with scores
serves every threshold: a detection is shown up to its score, an object counts as detected up to the score of the
detection that matches it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codetr.evaluation.analysis.explain import Analysis
from codetr.evaluation.analysis.tide import BOTH, CLASSIFICATION, DUPLICATE, MISSED, TYPES
from codetr.evaluation.metrics.metric_spec import IOU50
from codetr.evaluation.metrics.operating_point import ImageMetrics
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable
from codetr.visual.drawing import elide
from codetr.visual.html import data_uri

_MAX_BOXES = 100
"""Detections of a picture, unless more are above the operating point."""

_LONG_SIDE, _CROP_SIDE = 720, 260
_MARK_BYTES = 260
_MAX_LETTERS = 24


@dataclass(frozen=True)
class Mark:
    """A box over a picture.

    Attributes:
        kind: "tp", "fp" or "ignored" for detections, "object" or "crowd" for the ground truth.
        box_xywh: x, y, width and height in pixels of the picture.
        caption: class, and score of a detection.
        score: of a detection; of an object that of the detection that matches it, -1 if none does.
        note: type of the error, or empty.
    """

    kind: str
    box_xywh: tuple[float, float, float, float]
    caption: str
    score: float
    note: str = ""


@dataclass(frozen=True)
class Overlay:
    """A picture and the boxes over it.

    Attributes:
        caption: text below the picture.
        source: the picture as a `data:` URI.
        size: its width and height.
        marks: boxes, those that hide others first.
        image: metrics of the image at the operating point; None for a part of an image.
        drawn: a picture with masks, if there are any.
    """

    caption: str
    source: str
    size: tuple[int, int]
    marks: list[Mark]
    image: ImageMetrics | None = None
    drawn: Path | None = None

    @property
    def page_bytes(self) -> int:
        """Approximate size in a page."""
        drawn = 0 if self.drawn is None else 4 * self.drawn.stat().st_size // 3
        return len(self.source) + _MARK_BYTES * len(self.marks) + drawn


@dataclass(frozen=True)
class OverlayBuilder:
    """Create the overlays of one evaluation.

    Attributes:
        truth: ground truth.
        predictions: detections.
        analysis: their errors.
        pixels: reads the image with an id, (height, width, 3) RGB.
    """

    truth: GroundTruth
    predictions: PredictionTable
    analysis: Analysis
    pixels: Callable[[int], NDArray[np.uint8]]

    def whole(self, image: ImageMetrics, drawn: Path | None = None) -> Overlay:
        """Return an image with its objects, all detections at the operating point, and more up to a hundred."""
        position = self.truth.position(image.image_id)
        errors, matches = self.analysis.errors, self.analysis.metrics.matches
        score = self.analysis.metrics.operating_point.score
        picture, scale = _scaled(self.pixels(image.image_id), _LONG_SIDE)
        rows = np.flatnonzero(matches.image == position)
        rows = rows[np.argsort(-matches.score[rows], kind="stable")]
        rows = rows[: max(_MAX_BOXES, int((matches.score[rows] >= score).sum()))]
        objects = np.flatnonzero(self.truth.image[errors.gt_index] == position)
        crowds = np.flatnonzero((self.truth.image == position) & self.truth.iscrowd)
        marks = [] if self.truth.federated else [self._crowd(k, scale) for k in crowds.tolist()]
        marks += [self._object(k, scale) for k in objects.tolist()]
        marks += [self._detection(row, scale) for row in rows[::-1].tolist()]
        return Overlay(image.file_name, _jpeg(picture), picture.size, marks, image, drawn)

    def examples_of_errors(self, count: int) -> list[tuple[str, list[Overlay]]]:
        """Return, for each type of error that occurs, those with the highest scores (the largest missed objects)."""
        errors, matches = self.analysis.errors, self.analysis.metrics.matches
        examples = []
        for kind, name in enumerate(TYPES):
            if kind == MISSED:
                missed = np.flatnonzero(errors.missed(self.analysis.metrics.operating_point.score))
                area = self.truth.area[errors.gt_index[missed]]
                ranked, images = missed[np.argsort(-area, kind="stable")], self.truth.image[errors.gt_index]
            else:
                rows = np.flatnonzero(errors.kind == kind)
                ranked, images = rows[np.argsort(-matches.score[rows], kind="stable")], matches.image
            chosen = _of_different_images(ranked, images, count)
            if chosen:
                examples.append((name, [self._part(kind, entry) for entry in chosen]))
        return examples

    def _part(self, kind: int, entry: int) -> Overlay:
        """Return the surroundings of an error: of a detection, or of a missed object."""
        errors, matches = self.analysis.errors, self.analysis.metrics.matches
        boxes_xywh = []
        gt = entry if kind == MISSED else int(errors.related_gt[entry])
        position = int(self.truth.image[errors.gt_index[entry]]) if kind == MISSED else int(matches.image[entry])
        if gt >= 0:
            boxes_xywh.append(self.truth.boxes_xywh[errors.gt_index[gt]])
        if kind != MISSED:
            boxes_xywh.append(self.predictions.boxes()[matches.dt_index[entry]])
        pixels = self.pixels(int(self.truth.image_ids[position]))
        left, top, right, bottom = _surroundings(np.array(boxes_xywh), pixels.shape[1], pixels.shape[0])
        picture, scale = _scaled(pixels[top:bottom, left:right], _CROP_SIDE)
        marks = [] if gt < 0 else [self._object(gt, scale, (left, top))]
        if kind == MISSED:
            caption = self.truth.names[errors.gt_label[gt]]
        else:
            marks.append(self._detection(entry, scale, (left, top)))
            caption = f"{self.truth.names[matches.label[entry]]} {matches.score[entry]:.2f}"
            if kind in (CLASSIFICATION, BOTH):
                caption += f", annotated: {self.truth.names[errors.gt_label[gt]]}"
            elif kind == DUPLICATE:
                caption += ", already detected"
        return Overlay(caption, _jpeg(picture), picture.size, marks)

    def _detection(self, row: int, scale: float, corner: tuple[int, int] = (0, 0)) -> Mark:
        errors, matches = self.analysis.errors, self.analysis.metrics.matches
        kind = "tp" if matches.tp[IOU50, row] else "fp" if matches.fp[IOU50, row] else "ignored"
        score = float(matches.score[row])
        box_xywh = self.predictions.boxes()[matches.dt_index[row]]
        note = TYPES[errors.kind[row]] if kind == "fp" else ""
        caption = f"{self._name(int(matches.label[row]))} {score:.2f}"
        return Mark(kind, _on_picture(box_xywh, scale, corner), caption, score, note)

    def _object(self, k: int, scale: float, corner: tuple[int, int] = (0, 0)) -> Mark:
        errors = self.analysis.errors
        score = float(errors.gt_score[k])
        box_xywh = _on_picture(self.truth.boxes_xywh[errors.gt_index[k]], scale, corner)
        return Mark("object", box_xywh, self._name(int(errors.gt_label[k])), score if np.isfinite(score) else -1.0)

    def _crowd(self, k: int, scale: float) -> Mark:
        caption = f"{self._name(int(self.truth.label[k]))} (crowd)"
        return Mark("crowd", _on_picture(self.truth.boxes_xywh[k], scale, (0, 0)), caption, 0.0)

    def _name(self, label: int) -> str:
        return elide(self.truth.names[label], _MAX_LETTERS)


def within_byte_budget(overlays: Iterable[Overlay], budget: int) -> list[Overlay]:
    """Return the first overlays that together are no larger than `budget` bytes of a page."""
    kept, left = [], budget
    for overlay in overlays:
        left -= overlay.page_bytes
        if left < 0:
            break
        kept.append(overlay)
    return kept


def _of_different_images(ranked: NDArray[np.int64], images: NDArray[np.int64], count: int) -> list[int]:
    """Return the first `count` entries of different images; if there are too few images, several of each."""
    first = np.sort(np.unique(images[ranked], return_index=True)[1])
    rest = np.setdiff1d(np.arange(min(len(ranked), 2 * count)), first)
    return [int(entry) for entry in ranked[np.concatenate([first, rest])[:count]]]


def _surroundings(boxes_xywh: NDArray[np.float64], width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the part of an image around boxes, half as large again."""
    low, high = boxes_xywh[:, :2].min(axis=0), (boxes_xywh[:, :2] + boxes_xywh[:, 2:]).max(axis=0)
    margin = max(float((high - low).max()) / 4, 16.0)
    left, top = (int(np.clip(side - margin, 0, size - 1)) for side, size in zip(low, (width, height), strict=True))
    right, bottom = (
        int(np.clip(np.ceil(side + margin), start + 1, size))
        for side, start, size in zip(high, (left, top), (width, height), strict=True)
    )
    return left, top, right, bottom


def _on_picture(
    box_xywh: NDArray[np.float64], scale: float, corner: tuple[int, int]
) -> tuple[float, float, float, float]:
    x, y, width, height = ((box_xywh - (*corner, 0, 0)) * scale).round(1).tolist()
    return x, y, width, height


def _scaled(pixels: NDArray[np.uint8], long_side: int) -> tuple[Image.Image, float]:
    """Return the image with its longer side that long, enlarged at most eight times, and the scale."""
    height, width = pixels.shape[:2]
    scale = min(long_side / max(height, width), 8.0)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), scale


def _jpeg(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=82)
    return data_uri("jpeg", content.getvalue())
