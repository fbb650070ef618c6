"""Detections as they are written to files: JSON, CSV, and label files of YOLO, image by image."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePath
from typing import Any, Protocol

import numpy as np

from codetr.core.errors import UserError, did_you_mean
from codetr.core.files import safe_name
from codetr.data.polygons import mask_polygon
from codetr.inference.result import Result

CSV, LABELS = "detections.csv", "labels"

FORMATS = ("csv", "yolo", "yolo-score")
"""A table; label files of YOLO; the same with the score at the end of each row."""

_COLUMNS = ("file", "frame", "time", "label", "name", "score", "x", "y", "width", "height")
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One detection: class (label and name), score in [0, 1], box [x, y, width, height] in pixels of the image.

    A model with masks adds a run-length code {size [height, width], counts} over the image and a score of the mask.
    """

    label: int
    name: str
    score: float
    bbox: tuple[float, float, float, float]
    segmentation: dict[str, Any] | None = None
    mask_score: float | None = None


def listed_objects(result: Result) -> list[ListedObject]:
    """Convert the objects of a result to what is written to files."""
    return [
        ListedObject(
            entry["category_id"],
            result.class_names[entry["category_id"]],
            entry["score"],
            tuple(entry["bbox"]),
            entry.get("segmentation"),
            entry.get("mask_score"),
        )
        for entry in result.to_coco()
    ]


class DetectionFile(Protocol):
    """A file or folder that detections are written to."""

    def add(self, file: str, result: Result, objects: Sequence[ListedObject], labels: PurePath) -> None:
        """Write the detections of an image or a frame.

        Args:
            file: the image or video, as it was given.
            result: the detections.
            objects: the same.
            labels: name of its label file, see `LabelNames`.
        """


class CsvFile:
    """One row for each detection; the box is in pixels, x and y are its left top corner."""

    def __init__(self, path: Path) -> None:
        # Names of files that are not valid Unicode are written with escapes.
        self._stream = path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        self._rows = csv.writer(self._stream, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        self._rows.writerow(_COLUMNS)

    def add(self, file: str, result: Result, objects: Sequence[ListedObject], labels: PurePath) -> None:
        """Write the rows of an image or a frame."""
        # None is an empty cell.
        frame, time = result.frame, None if result.time is None else round(result.time, 6)
        self._rows.writerows(
            [file, frame, time, entry.label, entry.name, entry.score, *entry.bbox] for entry in objects
        )

    def close(self) -> None:
        """Finish the file."""
        self._stream.close()


class YoloFiles:
    """A text file for each image, with a row for each detection.

    A row is the label and, relative to the size of the image, the centre and size of the box; of a model with masks,
    the points of a polygon around the mask. Boxes are clipped to the image, and those outside of it are left out.

    Args:
        folder: of the files.
        with_scores: end rows with the score.
    """

    def __init__(self, folder: Path, *, with_scores: bool) -> None:
        self._folder, self._with_scores = folder, with_scores

    def add(self, file: str, result: Result, objects: Sequence[ListedObject], labels: PurePath) -> None:
        """Write the file of an image or a frame; it is empty if nothing is detected."""
        height, width = result.size
        size = np.array([width, height], np.float64)
        rows = []
        for found in result:
            corners = np.clip(np.divide(np.reshape(found.box, (2, 2)), size), 0, 1)
            extent = corners[1] - corners[0]
            if not (extent > 0).all():
                continue
            shape = np.concatenate([corners.mean(axis=0), extent])
            if found.mask is not None and found.mask.any():
                shape = (mask_polygon(found.mask) / size).ravel()
            values = [*shape, found.score] if self._with_scores else shape
            rows.append(f"{found.label} {' '.join(f'{value:.6g}' for value in values)}\n")
        target = self._folder / labels
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("".join(rows))


class LabelNames:
    """Names of label files: each image's within the folder that was given, with the suffix .txt."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def of_image(self, name: PurePath, number: int) -> PurePath:
        """Return the name of the label file of an image.

        Args:
            name: of the image, within the folder that was given.
            number: of the image; part of the name if an earlier image has the same but for its suffix.
        """
        numbered = safe_name(number, name.stem)
        candidates = (PurePath(f"{numbered}{'_' * k}.txt") for k in count())
        labels = name.with_name(f"{name.stem}.txt")
        while not self._take(labels):
            labels = next(candidates)
        return labels

    def of_video(self, stem: str, number: int) -> PurePath:
        """Return a folder for the label files of the frames of a video."""
        return next(
            folder
            for folder in (PurePath(f"{safe_name(number, stem)}{'_' * k}") for k in count())
            if str(folder).casefold() not in self._files | self._folders
        )

    def _take(self, labels: PurePath) -> bool:
        """Take a name; return False if an earlier one is the same, or one of them is the folder of the other."""
        # Without regard to case, for file systems that have none.
        key, *folders = (str(path).casefold() for path in (labels, *labels.parents[:-1]))
        taken = key in self._files or key in self._folders or bool(self._files.intersection(folders))
        if taken or len(os.fsencode(labels.name)) > _LONGEST_NAME:
            return False
        self._files.add(key)
        self._folders.update(folders)
        return True


def require_formats(formats: Collection[str]) -> None:
    """Require that all are of `FORMATS`, and write different files.

    Raises:
        UserError: the message has the similar ones.
    """
    if unknown := sorted(set(formats) - set(FORMATS)):
        hint = f"{did_you_mean(unknown[0], FORMATS)}Formats: {', '.join(FORMATS)}."
        raise UserError(f"there is no format '{unknown[0]}'", where="--format", hint=hint)
    if {"yolo", "yolo-score"} <= set(formats):
        raise UserError("'yolo' and 'yolo-score' write the same files", where="--format", hint="Give one of them.")


@contextmanager
def open_detection_files(folder: Path, formats: Collection[str]) -> Iterator[list[DetectionFile]]:
    """Create files of some of `FORMATS` in a folder; they are complete when the context ends."""
    files: list[DetectionFile] = []
    with ExitStack() as stack:
        if "csv" in formats:
            table = CsvFile(folder / CSV)
            stack.callback(table.close)
            files.append(table)
        if {"yolo", "yolo-score"} & set(formats):
            files.append(YoloFiles(folder / LABELS, with_scores="yolo-score" in formats))
        yield files
