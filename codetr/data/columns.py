"""The annotations of a source: those whose fields have the types they should as columns, the others one by one.

Making Python objects of the 860,001 annotations of COCO's training set takes gigabytes. So a JSON text is cut into
annotations, and those are decoded, some thousand at a time, straight into arrays. Where that does not work out, for
whatever reason, an annotation is left to whoever reads it by itself.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Annotated, Any, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from codetr.data.ids import LARGEST, as_integer
from codetr.data.rules import encloses_nothing

_BATCH = 1 << 11
"""Annotations that are decoded together."""

_Id = Annotated[int, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
_ABSENT = -1
_NO_OUTLINE = msgspec.Raw(b"null")


class _Row(msgspec.Struct, gc=False):
    """An annotation whose fields are what they should be; it may have others."""

    id: _Id
    image_id: _Id
    category_id: _Id
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: Literal[0, 1] = _ABSENT  # type: ignore[assignment]
    ignore: Literal[0] = _ABSENT  # type: ignore[assignment]
    segmentation: msgspec.Raw = _NO_OUTLINE


_REQUIRED = 5
_ROW = msgspec.json.Decoder(_Row)
_POLYGONS = msgspec.json.Decoder(list[list[float]] | None)
_FIRST_BYTE = re.compile(rb"[^ \t\r\n,]")


@dataclass(frozen=True)
class Typed:
    """Annotations whose fields have the types they should; whether they make sense is another question.

    Attributes:
        positions: (n,) int64 where they stand among all annotations, ascending.
        ids: (n,) int64.
        image_ids: (n,) int64.
        category_ids: (n,) int64.
        boxes: (n, 4) float64 x, y, width, height in pixels.
        areas: (n,) float64 square pixels.
        crowds: (n,) bool.
        extents: (n, 4) float64 x1, y1, x2, y2 in pixels around the points of all polygons; NaN without outline.
        outlines: (n, 2) int64 where the polygons start and stop in the text; empty for none.
    """

    positions: NDArray[np.int64]
    ids: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowds: NDArray[np.bool_]
    extents: NDArray[np.float64]
    outlines: NDArray[np.int64]

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """One after the other; there must be one at least."""
        return cls(*(np.concatenate([getattr(part, entry.name) for part in parts]) for entry in fields(cls)))

    def take(self, chosen: NDArray[np.bool_]) -> Self:
        """Those for which (n,) `chosen` is true."""
        if chosen.all():
            return self  # a copy would take memory
        return type(self)(*(getattr(self, entry.name)[chosen] for entry in fields(self)))


class Annotations(Sequence[Any]):
    """The annotations of a source, of any type: nothing is checked yet.

    Args:
        values: all of them, as Python's `json` reads them.

    Attributes:
        ids: (annotations,) int64 ids as they are given; 0 where there is none that is an integer.
        typed: those that are columns, too; all that are not in there have to be read one by one.
        text: what `typed` tells of, as UTF-8.
    """

    def __init__(self, values: Sequence[Any]) -> None:
        self.text = b""
        self.ids = np.array([_given_id(value) for value in values], np.int64)
        self.typed = _as_columns([], [], [], [])
        self._values = values

    @classmethod
    def of_text(cls, text: bytes, spans: NDArray[np.int64], load: Callable[[bytes], Any]) -> Self:
        """The annotations in a JSON text; as values they are made anew each time one is asked for.

        Args:
            text: a whole file, known to be JSON.
            spans: what `cut` gives.
            load: makes a Python value of JSON. It is asked wherever there is doubt, and what it raises is passed on.
        """
        parts, ids = [cls(()).typed], [np.array([], np.int64)]
        for first in range(0, len(spans), _BATCH):
            typed, given = _read_batch(text, first, spans[first : first + _BATCH].tolist(), load)
            parts.append(typed)
            ids.append(given)
        annotations = cls(())
        annotations.text, annotations.typed, annotations.ids = text, Typed.concatenate(parts), np.concatenate(ids)
        annotations._values = _Parsed(text, spans, load)
        return annotations

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, position: Any) -> Any:
        return self._values[position]


class _Parsed(Sequence[Any]):
    """Values that are made of a JSON text whenever one is asked for."""

    def __init__(self, text: bytes, spans: NDArray[np.int64], load: Callable[[bytes], Any]) -> None:
        self._text, self._spans, self._load = text, spans, load

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, position: Any) -> Any:
        start, stop = self._spans[position].tolist()
        return self._load(self._text[start:stop])


def cut(text: bytes, pieces: Sequence[msgspec.Raw]) -> NDArray[np.int64]:
    """(pieces, 2) where the entries of a list start and stop in the text that they were decoded from."""
    spans = array("q")
    if pieces:
        # A raw message is a view of the text.
        end = np.frombuffer(pieces[0], np.uint8).ctypes.data - np.frombuffer(text, np.uint8).ctypes.data
    for piece in pieces:
        begin = _FIRST_BYTE.search(text, end).start()  # type: ignore[union-attr]
        end = begin + len(memoryview(piece))
        spans.append(begin)
        spans.append(end)
    return np.array(spans, np.int64).reshape(-1, 2)


def _read_batch(
    text: bytes, first: int, spans: list[list[int]], load: Callable[[bytes], Any]
) -> tuple[Typed, NDArray[np.int64]]:
    """The typed ones among the annotations from the position `first` on, and the ids of all."""
    view = memoryview(text)
    positions, rows, polygons, places, ids, fields = [], [], [], [], [], 0
    for position, (start, stop) in enumerate(spans, first):
        try:
            row = _ROW.decode(view[start:stop])
            outline = _POLYGONS.decode(row.segmentation)
        except msgspec.ValidationError:
            ids.append(_given_id(load(text[start:stop])))
            fields += text.count(b":", start, stop)
            continue
        begin = end = start
        if row.segmentation is not _NO_OUTLINE:
            begin = text.index(row.segmentation, start, stop)
            end = begin + len(memoryview(row.segmentation))
        ids.append(row.id)
        positions.append(position)
        rows.append(row)
        polygons.append(outline or [])
        places.append((begin, end))
        fields += _count_fields(row)
    # As many colons as there are fields: so none is given twice, and there is no other.
    if fields != text.count(b":", spans[0][0], spans[-1][1]):
        for position, row, (begin, end) in zip(positions, rows, places, strict=True):
            start, stop = spans[position - first]
            if _count_fields(row) != text.count(b":", start, stop):
                # Another parser has to tell. It need not see the polygons, as lists of lists of numbers have no fields.
                load(text[start:begin] + b"0" + text[end:stop] if begin < end else text[start:stop])
    return _as_columns(positions, rows, polygons, places), np.array(ids, np.int64)


def _count_fields(row: _Row) -> int:
    """How many of the fields are in the text."""
    optional = (row.iscrowd != _ABSENT) + (row.ignore != _ABSENT) + (row.segmentation is not _NO_OUTLINE)
    return _REQUIRED + optional


def _as_columns(
    positions: list[int], rows: list[_Row], polygons: list[list[list[float]]], places: list[tuple[int, int]]
) -> Typed:
    """Those of the annotations whose polygons are polygons."""
    parts = list(chain.from_iterable(polygons))
    owners = np.repeat(np.arange(len(rows)), np.fromiter(map(len, polygons), np.int64, len(rows)))
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    coordinates = np.bincount(owners, lengths, len(rows)).astype(np.int64)
    unsound = np.zeros(len(rows), bool)
    unsound[owners[encloses_nothing(lengths)]] = True
    unsound &= coordinates > 0  # [] and [[]] are no outlines, not wrong ones
    present = (coordinates > 0) & ~unsound
    numbers = array("d")
    for part in parts:
        numbers.fromlist(part)
    points = np.array(numbers, np.float64)[np.repeat(present[owners], lengths)].reshape(-1, 2)
    extents = np.full((len(rows), 4), np.nan)
    if present.any():
        firsts = np.cumsum(coordinates[present] // 2) - coordinates[present] // 2
        extents[present, :2] = np.minimum.reduceat(points, firsts)
        extents[present, 2:] = np.maximum.reduceat(points, firsts)
    outlines = np.array(places, np.int64).reshape(-1, 2)
    outlines[~present] = 0
    return Typed(
        np.array(positions, np.int64),
        np.array([row.id for row in rows], np.int64),
        np.array([row.image_id for row in rows], np.int64),
        np.array([row.category_id for row in rows], np.int64),
        np.array([row.bbox for row in rows], np.float64).reshape(-1, 4),
        np.array([row.area for row in rows], np.float64),
        np.array([row.iscrowd == 1 for row in rows], bool),
        extents,
        outlines,
    ).take(~unsound)


def _given_id(value: Any) -> int:
    return (as_integer(value.get("id")) if isinstance(value, dict) else None) or 0
