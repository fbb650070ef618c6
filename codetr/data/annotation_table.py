"""Annotations as columns, on their way from an annotation file to an index: a million Python objects take gigabytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_BATCH = 1 << 14
"""Segmentations that are copied together."""

_SEPARATOR = b"\0"
"""Occurs in no JSON text, so it can separate segmentations that are joined."""


@dataclass(frozen=True)
class CheckedAnnotation:
    """One usable annotation.

    Attributes:
        annotation_id: unique in its file, never 0.
        image_id: its image.
        category_id: its category.
        box_xywh: (x, y, width, height) in pixels of the image.
        area: square pixels; decides the size range it is evaluated in.
        iscrowd: a region of several objects: evaluated as one to be ignored, never trained on.
        trainable: not a crowd, not marked with `ignore`, and at least a pixel wide and high inside the image.
        segmentation: checked polygons or run-length code, or None.
        ignored: marked with `ignore`, which LVIS's metrics use and COCO's do not.
    """

    annotation_id: int
    image_id: int
    category_id: int
    box_xywh: tuple[float, float, float, float]
    area: float
    iscrowd: bool
    trainable: bool
    segmentation: list[list[float]] | dict[str, Any] | None
    ignored: bool = False


@dataclass(frozen=True)
class AnnotationTable:
    """Annotations as columns, each of the meaning it has in `CheckedAnnotation`.

    A reader of a format fills in the annotations whose fields have the right types; `AnnotationReader` checks the
    values, keeps the usable rows, and adds those it had to repair; the index of a split is written from the result.

    Attributes:
        annotation_ids: (rows,) int64.
        image_ids: (rows,) int64.
        category_ids: (rows,) int64.
        boxes_xywh: (rows, 4) float64.
        areas: (rows,) float64.
        iscrowd: (rows,) bool.
        trainable: (rows,) bool.
        ignored: (rows,) bool.
        segmentations: (rows, 3) int64: index into `texts`, first and last byte of the segmentation; an empty range
            for an annotation without one.
        texts: bytes with segmentations as JSON in them, such as an annotation file. They are never copied, however
            rows are selected, ordered and concatenated.
    """

    annotation_ids: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    areas: NDArray[np.float64]
    iscrowd: NDArray[np.bool_]
    trainable: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    segmentations: NDArray[np.int64]
    texts: tuple[bytes, ...]

    @classmethod
    def of(cls, annotations: Sequence[CheckedAnnotation]) -> Self:
        """Return the annotations as a table, in the same order."""
        texts = [b"" if entry.segmentation is None else _to_json(entry.segmentation) for entry in annotations]
        stops = np.cumsum([len(text) for text in texts], dtype=np.int64)
        starts = np.concatenate([[0], stops])[:-1].astype(np.int64)
        return cls(
            annotation_ids=np.array([entry.annotation_id for entry in annotations], np.int64),
            image_ids=np.array([entry.image_id for entry in annotations], np.int64),
            category_ids=np.array([entry.category_id for entry in annotations], np.int64),
            boxes_xywh=np.array([entry.box_xywh for entry in annotations], np.float64).reshape(-1, 4),
            areas=np.array([entry.area for entry in annotations], np.float64),
            iscrowd=np.array([entry.iscrowd for entry in annotations], bool),
            trainable=np.array([entry.trainable for entry in annotations], bool),
            ignored=np.array([entry.ignored for entry in annotations], bool),
            segmentations=np.stack([np.zeros_like(starts), starts, stops], axis=1),
            texts=(b"".join(texts),),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of all parts, in their order; there must be at least one part."""
        if len(parts) == 1:
            return parts[0]
        texts = {id(text): text for part in parts for text in part.texts}
        number_of = {key: number for number, key in enumerate(texts)}
        segmentations = np.concatenate([part.segmentations for part in parts])
        first = 0
        for part in parts:
            numbers = np.array([number_of[id(text)] for text in part.texts], np.int64)
            segmentations[first : first + len(part), 0] = numbers[part.segmentations[:, 0]]
            first += len(part)
        columns = {
            entry.name: np.concatenate([getattr(part, entry.name) for part in parts])
            for entry in fields(cls)
            if entry.name not in ("segmentations", "texts")
        }
        return cls(**columns, segmentations=segmentations, texts=tuple(texts.values()))

    def __len__(self) -> int:
        return len(self.annotation_ids)

    def take(self, rows: NDArray[Any]) -> Self:
        """Return the rows that an index array or a mask selects."""
        if len(rows) == len(self) and (rows.all() if rows.dtype == bool else (np.diff(rows) == 1).all()):
            return self  # all rows as they are, the usual case; a copy would take memory
        columns = {entry.name: getattr(self, entry.name)[rows] for entry in fields(self) if entry.name != "texts"}
        return replace(self, **columns)

    @property
    def has_segmentation(self) -> NDArray[np.bool_]:
        """(rows,) whether there is a segmentation."""
        return self.segmentations[:, 1] < self.segmentations[:, 2]

    def segmentation_texts(self) -> Iterator[tuple[bytes, NDArray[np.int64]]]:
        """Yield the segmentations as JSON without white space, joined, and their lengths: some thousand at a time."""
        for first in range(0, len(self), _BATCH):
            ranges = self.segmentations[first : first + _BATCH].T.tolist()
            joined = _SEPARATOR.join([self.texts[text][start:stop] for text, start, stop in zip(*ranges, strict=True)])
            joined = joined.translate(None, b" \t\n\r") + _SEPARATOR
            ends = np.flatnonzero(np.frombuffer(joined, np.uint8) == _SEPARATOR[0])
            yield joined.translate(None, _SEPARATOR), np.diff(ends, prepend=-1) - 1


def first_equal_row(columns: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """Return (rows,) the first row that has the same values in all `columns` (rows,), or -1 for the first itself."""
    partner = np.full(len(columns[0]), -1)
    if not len(partner):
        return partner
    # Sorting by a hash is quick, and few rows share one if most differ; only these are compared in full.
    hashes = _hash_rows(columns)
    by_hash = np.argsort(hashes, kind="stable")
    same_hash = hashes[by_hash][1:] == hashes[by_hash][:-1]
    rows = np.sort(by_hash[np.concatenate([same_hash, [False]]) | np.concatenate([[False], same_hash])])
    if not len(rows):
        return partner
    compared = [column[rows] for column in columns]
    order = np.lexsort(compared)  # stable, so the first row of a group comes first
    equal = np.ones(len(order) - 1, bool)
    for column in compared:
        equal &= column[order][1:] == column[order][:-1]
    is_first = np.concatenate([[True], ~equal])
    leader = order[np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))]
    partner[rows[order[~is_first]]] = rows[leader[~is_first]]
    return partner


def _hash_rows(columns: Sequence[NDArray[Any]]) -> NDArray[np.uint64]:
    """Return (rows,) numbers that are equal for equal rows, and rarely for others."""
    hashes = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        # Adding zero turns -0.0 into 0.0, which is equal to it but has other bits.
        bits = (column.astype(np.float64) + 0.0).view(np.uint64)
        hashes = (hashes ^ bits ^ (bits >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    return hashes


def _to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
