"""The objects of a split on their way into an index: as columns, because a million Python objects fill the memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 14
"""Segmentations that are copied together."""

_BETWEEN = b"\0"
"""Stands in no JSON text, so that segmentations can be told apart when they are joined."""


@dataclass(frozen=True)
class ObjectEntry:
    """One usable annotation.

    Attributes:
        annotation_id: unique in its file, never 0.
        image_id: its image.
        category_id: its category.
        box: (x, y, width, height) in pixels of the image.
        area: square pixels; decides the size range it is evaluated in.
        crowd: a region of several objects: evaluated as one to be ignored, never trained on.
        trainable: not a crowd, not marked with ignore, and at least a pixel wide and high inside the image.
        segmentation: checked polygons or run-length code, or None.
        ignored: marked with `ignore`, which LVIS's metrics heed and COCO's do not.
    """

    annotation_id: int
    image_id: int
    category_id: int
    box: tuple[float, float, float, float]
    area: float
    crowd: bool
    trainable: bool
    segmentation: list[list[float]] | dict[str, Any] | None
    ignored: bool = False


@dataclass(frozen=True)
class ObjectColumns:
    """Usable annotations; the attributes are those of `ObjectEntry`, for all objects.

    Attributes:
        annotation_ids: (objects,) int64.
        image_ids: (objects,) int64.
        category_ids: (objects,) int64.
        boxes: (objects, 4) float64.
        areas: (objects,) float64.
        crowds: (objects,) bool.
        trainable: (objects,) bool.
        ignored: (objects,) bool.
        segmentations: (objects, 3) int64: index into `texts`, first and last byte of an object's segmentation;
            an empty range for an object without one.
        texts: bytes with checked segmentations as JSON in them, such as an annotation file. They are never copied,
            however objects are chosen, ordered and concatenated.
    """

    annotation_ids: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowds: NDArray[np.bool_]
    trainable: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    segmentations: NDArray[np.int64]
    texts: tuple[bytes, ...]

    @classmethod
    def of(cls, entries: Sequence[ObjectEntry]) -> Self:
        """Objects as columns, in the same order."""
        texts = [b"" if entry.segmentation is None else _to_json(entry.segmentation) for entry in entries]
        stops = np.cumsum([len(text) for text in texts], dtype=np.int64)
        starts = np.concatenate([[0], stops])[:-1].astype(np.int64)
        return cls(
            np.array([entry.annotation_id for entry in entries], np.int64),
            np.array([entry.image_id for entry in entries], np.int64),
            np.array([entry.category_id for entry in entries], np.int64),
            np.array([entry.box for entry in entries], np.float64).reshape(-1, 4),
            np.array([entry.area for entry in entries], np.float64),
            np.array([entry.crowd for entry in entries], bool),
            np.array([entry.trainable for entry in entries], bool),
            np.array([entry.ignored for entry in entries], bool),
            np.stack([np.zeros_like(starts), starts, stops], axis=1),
            (b"".join(texts),),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """The objects of several columns one after the other; there must be one at least."""
        if len(parts) == 1:
            return parts[0]
        texts: list[bytes] = []
        segmentations = []
        for part in parts:
            segmentations.append(part.segmentations + np.array([len(texts), 0, 0]))
            texts += part.texts
        columns = {
            entry.name: np.concatenate([getattr(part, entry.name) for part in parts])
            for entry in fields(cls)
            if entry.name not in ("segmentations", "texts")
        }
        return cls(**columns, segmentations=np.concatenate(segmentations), texts=tuple(texts))

    def __len__(self) -> int:
        return len(self.annotation_ids)

    def take(self, chosen: NDArray[Any]) -> Self:
        """Those objects that an index or a mask chooses."""
        if len(chosen) == len(self) and (chosen.all() if chosen.dtype == bool else (np.diff(chosen) == 1).all()):
            return self  # all of them as they are, which is the rule; a copy would take memory
        columns = {entry.name: getattr(self, entry.name)[chosen] for entry in fields(self) if entry.name != "texts"}
        return replace(self, **columns)

    @property
    def with_segmentation(self) -> NDArray[np.bool_]:
        """(objects,) whether there is a segmentation."""
        return self.segmentations[:, 1] < self.segmentations[:, 2]

    def segmentation_texts(self) -> Iterator[tuple[bytes, NDArray[np.int64]]]:
        """The segmentations as JSON without white space, joined, and their lengths: some thousand objects at a time."""
        for start in range(0, len(self), _CHUNK):
            places = self.segmentations[start : start + _CHUNK].T.tolist()
            joined = _BETWEEN.join([self.texts[text][begin:end] for text, begin, end in zip(*places, strict=True)])
            joined = joined.translate(None, b" \t\n\r") + _BETWEEN
            ends = np.flatnonzero(np.frombuffer(joined, np.uint8) == _BETWEEN[0])
            yield joined.translate(None, _BETWEEN), np.diff(ends, prepend=-1) - 1


def first_equal_row(columns: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """(n,) the first row that has the same values in all `columns` (n,), or -1 for the first itself."""
    partner = np.full(len(columns[0]), -1)
    if not len(partner):
        return partner
    # Sorting by one column is quick. Rows of one value in it are few, if most differ; only they are compared in full.
    mixed = _mix(columns)
    by_mixed = np.argsort(mixed, kind="stable")
    alike = mixed[by_mixed][1:] == mixed[by_mixed][:-1]
    rows = np.sort(by_mixed[np.concatenate([alike, [False]]) | np.concatenate([[False], alike])])
    if not len(rows):
        return partner
    compared = [column[rows] for column in columns]
    order = np.lexsort(compared)  # stable, so the first row of a group comes first
    same = np.ones(len(order) - 1, bool)
    for column in compared:
        same &= column[order][1:] == column[order][:-1]
    starts = np.concatenate([[True], ~same])
    leader = order[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
    partner[rows[order[~starts]]] = rows[leader[~starts]]
    return partner


def _mix(columns: Sequence[NDArray[Any]]) -> NDArray[np.uint64]:
    """(n,) numbers that are equal for equal rows, and rarely for others."""
    mixed = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        # Zero is added because there is a negative one, which is equal and of other bits.
        bits = (column.astype(np.float64) + 0.0).view(np.uint64)
        mixed = (mixed ^ bits ^ (bits >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    return mixed


def _to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
