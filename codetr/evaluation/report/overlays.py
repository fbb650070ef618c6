"""Example images for the report: a plain picture, and boxes over it that a reader can choose among by score.

Whether a detection is right does not depend on those with lower scores, so that one list of boxes with scores is enough
for every threshold: a detection is shown from its own score down, an object counts as found from the score of the
detection that finds it.
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
from codetr.evaluation.metrics.operating_point import ImageMetrics
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import Predictions
from codetr.visual.drawing import elide
from codetr.visual.html import data_uri

_MOST_BOXES = 100
"""Detections of a picture below the operating point's score, with those above."""

_LONG_SIDE, _CROP_SIDE = 720, 260
_MARK_BYTES = 260


@dataclass(frozen=True)
class Mark:
    """A box over a picture.

    Attributes:
        kind: "right", "wrong" or "neither" for detections, "object" or "crowd" for the ground truth.
        box: x, y, width and height in pixels of the picture.
        caption: class, and score of a detection.
        score: a detection's own; of an object that of the detection that finds it, -1 if none does.
        note: type of the mistake, or nothing.
    """

    kind: str
    box: tuple[float, float, float, float]
    caption: str
    score: float
    note: str = ""


@dataclass(frozen=True)
class Overlay:
    """A picture and what is to be seen on it.

    Attributes:
        caption: what it shows.
        source: the picture as a `data:` address.
        size: its width and height.
        marks: boxes, those that hide others first.
        image: numbers of the image at the operating point; None for a part of an image.
        drawn: a picture with masks, if there are any.
    """

    caption: str
    source: str
    size: tuple[int, int]
    marks: list[Mark]
    image: ImageMetrics | None = None
    drawn: Path | None = None

    @property
    def bytes(self) -> int:
        """About how many bytes of a page it takes."""
        drawn = 0 if self.drawn is None else 4 * self.drawn.stat().st_size // 3
        return len(self.source) + _MARK_BYTES * len(self.marks) + drawn


@dataclass(frozen=True)
class Album:
    """Makes overlays.

    Attributes:
        truth: ground truth.
        predictions: detections.
        analysis: which of them are wrong, and why.
        pixels: reads the image with an id, (height, width, 3) RGB.
    """

    truth: GroundTruth
    predictions: Predictions
    analysis: Analysis
    pixels: Callable[[int], NDArray[np.uint8]]

    def whole(self, image: ImageMetrics, drawn: Path | None = None) -> Overlay:
        """A whole image with its objects, all detections at the operating point, and more, a hundred in all."""
        (position,) = np.flatnonzero(self.truth.image_ids == image.image_id)
        errors, score = self.analysis.errors, self.analysis.metrics.operating_point.score
        picture, scale = _scaled(self.pixels(image.image_id), _LONG_SIDE)
        rows = np.flatnonzero(errors.image == position)
        rows = rows[np.argsort(-errors.score[rows], kind="stable")]
        rows = rows[: max(_MOST_BOXES, int((errors.score[rows] >= score).sum()))]
        sought = np.flatnonzero(self.truth.image[errors.sought] == position)
        crowds = np.flatnonzero((self.truth.image == position) & self.truth.crowd)
        marks = [] if self.truth.federated else [self._crowd(row, scale) for row in crowds.tolist()]
        marks += [self._object(k, scale) for k in sought.tolist()]
        marks += [self._detection(row, scale) for row in rows[::-1].tolist()]
        return Overlay(image.file_name, _jpeg(picture), picture.size, marks, image, drawn)

    def mistakes(self, count: int) -> list[tuple[str, list[Overlay]]]:
        """For each type of mistake that there is, its most certain examples (of missed objects the largest)."""
        errors = self.analysis.errors
        shown = []
        for kind, name in enumerate(TYPES):
            if kind == MISSED:
                things = np.flatnonzero(errors.missed(self.analysis.metrics.operating_point.score))
                area = self.truth.area[errors.sought[things]]
                ranked, images = things[np.argsort(-area, kind="stable")], self.truth.image[errors.sought]
            else:
                rows = np.flatnonzero(errors.kind == kind)
                ranked, images = rows[np.argsort(-errors.score[rows], kind="stable")], errors.image
            chosen = _of_different_images(ranked, images, count)
            if chosen:
                shown.append((name, [self._part(kind, entry) for entry in chosen]))
        return shown

    def _part(self, kind: int, entry: int) -> Overlay:
        """The surroundings of a mistake: a detection, or of missed objects the object."""
        errors, names = self.analysis.errors, [entry.name for entry in self.analysis.metrics.classes]
        boxes = []
        about = entry if kind == MISSED else int(errors.about[entry])
        image = int(self.truth.image[errors.sought[entry]]) if kind == MISSED else int(errors.image[entry])
        if about >= 0:
            boxes.append(self.truth.boxes_xywh[errors.sought[about]])
        if kind != MISSED:
            boxes.append(self._boxes()[self.analysis.metrics.matching.detection[entry]])
        pixels = self.pixels(int(self.truth.image_ids[image]))
        left, top, right, bottom = _surroundings(np.array(boxes), pixels.shape[1], pixels.shape[0])
        picture, scale = _scaled(pixels[top:bottom, left:right], _CROP_SIDE)
        marks = [] if about < 0 else [self._object(about, scale, (left, top))]
        if kind == MISSED:
            caption = names[errors.object_label[about]]
        else:
            marks.append(self._detection(entry, scale, (left, top)))
            caption = f"{names[errors.label[entry]]} {errors.score[entry]:.2f}"
            if kind in (CLASSIFICATION, BOTH):
                caption += f", annotated: {names[errors.object_label[about]]}"
            elif kind == DUPLICATE:
                caption += ", found already"
        return Overlay(caption, _jpeg(picture), picture.size, marks)

    def _detection(self, row: int, scale: float, corner: tuple[int, int] = (0, 0)) -> Mark:
        errors = self.analysis.errors
        kind = "right" if errors.right[row] else "wrong" if errors.kind[row] >= 0 else "neither"
        name = self.analysis.metrics.classes[int(errors.label[row])].name
        score = float(errors.score[row])
        box = self._boxes()[self.analysis.metrics.matching.detection[row]]
        note = TYPES[errors.kind[row]] if kind == "wrong" else ""
        return Mark(kind, _placed(box, scale, corner), f"{elide(name, 24)} {score:.2f}", score, note)

    def _object(self, k: int, scale: float, corner: tuple[int, int] = (0, 0)) -> Mark:
        errors = self.analysis.errors
        name = elide(self.analysis.metrics.classes[int(errors.object_label[k])].name, 24)
        found = float(errors.found_at[k])
        box = self.truth.boxes_xywh[errors.sought[k]]
        return Mark("object", _placed(box, scale, corner), name, found if np.isfinite(found) else -1.0)

    def _crowd(self, row: int, scale: float) -> Mark:
        name = elide(self.analysis.metrics.classes[int(self.truth.label[row])].name, 24)
        return Mark("crowd", _placed(self.truth.boxes_xywh[row], scale, (0, 0)), f"{name} (crowd)", 0.0)

    def _boxes(self) -> NDArray[np.float64]:
        return self.predictions.boxes()


def fitting(overlays: Iterable[Overlay], most: int) -> list[Overlay]:
    """The first overlays that together take no more than `most` bytes of a page."""
    kept, left = [], most
    for overlay in overlays:
        left -= overlay.bytes
        if left < 0:
            break
        kept.append(overlay)
    return kept


def _of_different_images(ranked: NDArray[np.int64], images: NDArray[np.int64], count: int) -> list[int]:
    """The first `count` entries that are not of one image; of few images, several of each."""
    first = np.sort(np.unique(images[ranked], return_index=True)[1])
    rest = np.setdiff1d(np.arange(min(len(ranked), 2 * count)), first)
    return [int(entry) for entry in ranked[np.concatenate([first, rest])[:count]]]


def _surroundings(boxes: NDArray[np.float64], width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a part of an image around boxes [x, y, width, height], half as large again."""
    low, high = boxes[:, :2].min(axis=0), (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    margin = max(float((high - low).max()) / 4, 16.0)
    left, top = (int(np.clip(side - margin, 0, size - 1)) for side, size in zip(low, (width, height), strict=True))
    right, bottom = (
        int(np.clip(np.ceil(side + margin), start + 1, size))
        for side, start, size in zip(high, (left, top), (width, height), strict=True)
    )
    return left, top, right, bottom


def _placed(box: NDArray[np.float64], scale: float, corner: tuple[int, int]) -> tuple[float, float, float, float]:
    x, y, width, height = ((box - (*corner, 0, 0)) * scale).round(1).tolist()
    return x, y, width, height


def _scaled(pixels: NDArray[np.uint8], long_side: int) -> tuple[Image.Image, float]:
    """The image with its longer side that long, enlarged at most eight times; and by how much it was."""
    height, width = pixels.shape[:2]
    scale = min(long_side / max(height, width), 8.0)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), scale


def _jpeg(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=82)
    return data_uri("jpeg", content.getvalue())
