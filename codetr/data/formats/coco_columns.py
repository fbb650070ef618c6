"""The annotations of a source: those whose fields have the types they should as columns, the others one by one.

Making Python objects of the 860,001 annotations of COCO's training set takes gigabytes. So a JSON text is cut into
annotations, and those are decoded, some thousand at a time, straight into arrays. Where that does not work out, for
whatever reason, an annotation is left to whoever reads it by itself.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain, compress
from typing import Annotated, Any, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from codetr.data.validation.ids import LARGEST, as_integer
from codetr.data.validation.rules import encloses_nothing

_CHUNK = 1 << 20
"""Bytes of annotations that are decoded together, about."""

_Id = Annotated[int, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
_ABSENT = -1
_ODD = msgspec.UNSET
_NEAR = 1 << 10
"""Bytes after a segmentation in which the next one mostly is found."""

_NO_SEGMENTATION = msgspec.Raw(b"null")


class _Row(msgspec.Struct, gc=False):
    """An annotation whose fields are what they should be; it may have others."""

    id: _Id
    image_id: _Id
    category_id: _Id
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: Literal[0, 1] = _ABSENT  # type: ignore[assignment]
    ignore: Literal[0] = _ABSENT  # type: ignore[assignment]
    segmentation: msgspec.Raw = _NO_SEGMENTATION


_REQUIRED = 5
_ROWS = msgspec.json.Decoder(list[_Row])
_POLYGONS = msgspec.json.Decoder(list[list[list[float]] | None])
_PIECES = msgspec.json.Decoder(list[msgspec.Raw])
_SOMETHING = re.compile(rb"\S")
_BETWEEN_OBJECTS = re.compile(rb"\}[ \t\r\n]*(,)[ \t\r\n]*\{")


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
        extents: (n, 4) float64 x1, y1, x2, y2 in pixels around the points of all polygons; NaN without segmentation.
        segmentations: (n, 2) int64 where the polygons start and stop in the text; empty for none.
    """

    positions: NDArray[np.int64]
    ids: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowds: NDArray[np.bool_]
    extents: NDArray[np.float64]
    segmentations: NDArray[np.int64]

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
        self.typed = _as_columns(np.array([], np.int64), [], [], [])
        self._values = values

    @classmethod
    def of_text(cls, text: bytes, start: int, stop: int, load: Callable[[bytes], Any]) -> Self:
        """The annotations in a JSON text; as values they are made anew each time one is asked for.

        Args:
            text: a whole file, known to be JSON.
            start: where the list of annotations begins in it.
            stop: where it ends.
            load: makes a Python value of JSON. It is asked wherever there is doubt, and what it raises is passed on.

        Raises:
            msgspec.DecodeError: no list.
        """
        annotations = cls(())
        values = _Parsed(text, load)
        parts, ids = [annotations.typed], [annotations.ids]
        for begin, end, rows in _chunks(text, start, stop):
            typed, given = _read_chunk(text, begin, end, rows, len(values), load)
            parts.append(typed)
            ids.append(given)
            values.extend(begin, end, len(given))
        annotations.text, annotations.typed, annotations.ids = text, Typed.concatenate(parts), np.concatenate(ids)
        annotations._values = values
        return annotations

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, position: Any) -> Any:
        return self._values[position]


class _Parsed(Sequence[Any]):
    """Values that are made of a JSON text whenever one is asked for: quickly, where they are in turn."""

    def __init__(self, text: bytes, load: Callable[[bytes], Any]) -> None:
        self._text, self._load = text, load
        self._firsts: list[int] = []
        self._spans: list[tuple[int, int]] = []
        self._length = 0
        self._pieces: tuple[int, list[msgspec.Raw]] = -1, []

    def extend(self, start: int, stop: int, count: int) -> None:
        """Add so many values, which are in this part of the text."""
        self._firsts.append(self._length)
        self._spans.append((start, stop))
        self._length += count

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: Any) -> Any:
        if not 0 <= position < self._length:
            raise IndexError(position)
        chunk = bisect_right(self._firsts, position) - 1
        if self._pieces[0] != chunk:
            start, stop = self._spans[chunk]
            self._pieces = chunk, _PIECES.decode(b"[%b]" % self._text[start:stop])
        return self._load(bytes(self._pieces[1][position - self._firsts[chunk]]))


def _chunks(text: bytes, start: int, stop: int) -> Iterator[tuple[int, int, list[_Row | None]]]:
    """The annotations of a list, some at a time: where they start and stop in the text, and the typed ones of them.

    The text is cut at a comma between braces. Whether it is one of the list shows in what is before it: only then that
    is a list as well.
    """
    begin, last, size = start + 1, stop - 1, _CHUNK
    while _SOMETHING.search(text, begin, last):
        found = _BETWEEN_OBJECTS.search(text, begin + size, last)
        end, following = found.span(1) if found else (last, last)
        try:
            rows = _decode(_ROWS, text[begin:end])
        except msgspec.DecodeError:
            if not found:
                raise
            size *= 2
            continue
        yield begin, end, rows
        begin, size = following, _CHUNK


def _decode(decoder: msgspec.json.Decoder[list[Any]], content: bytes) -> list[Any]:
    """The entries of a list without its brackets, `_ODD` for those that are not of the decoder's type."""
    try:
        return decoder.decode(b"[%b]" % content)
    except msgspec.ValidationError:
        return [_decode_one(decoder, bytes(piece)) for piece in _PIECES.decode(b"[%b]" % content)]


def _decode_one(decoder: msgspec.json.Decoder[list[Any]], content: bytes) -> Any:
    try:
        return decoder.decode(b"[%b]" % content)[0]
    except msgspec.ValidationError:
        return _ODD


def _read_chunk(
    text: bytes, start: int, stop: int, read: list[Any], first: int, load: Callable[[bytes], Any]
) -> tuple[Typed, NDArray[np.int64]]:
    """The typed ones among the annotations from the position `first` on, and the ids of all."""
    segmentations = iter(_decode(_POLYGONS, b",".join([row.segmentation for row in read if row is not _ODD])))
    polygons = [_ODD if row is _ODD else next(segmentations) for row in read]
    typed = [segmentation is not _ODD for segmentation in polygons]
    rows, polygons = list(compress(read, typed)), list(compress(polygons, typed))
    ids = [row.id for row in rows]
    # As many colons as there are fields: so none is given twice, and there is no other.
    if len(rows) < len(read) or sum(map(_count_fields, rows)) != text.count(b":", start, stop):
        found = iter(rows)
        pieces = map(bytes, _PIECES.decode(b"[%b]" % text[start:stop]))
        ids = [
            _verify(piece, next(found) if is_typed else None, load)
            for piece, is_typed in zip(pieces, typed, strict=True)
        ]
    places = []
    end = start
    for row, segmentation in zip(rows, polygons, strict=True):
        begin = end
        if segmentation:
            written = row.segmentation
            size = len(memoryview(written))
            begin = text.find(written, end, end + size + _NEAR)  # far quicker than in a large text
            if begin < 0:
                begin = text.index(written, end, stop)
            end = begin + size
        places.append((begin, end))
    positions = first + np.flatnonzero(typed)
    return _as_columns(positions, rows, [segmentation or [] for segmentation in polygons], places), np.array(
        ids, np.int64
    )


def _verify(piece: bytes, row: _Row | None, load: Callable[[bytes], Any]) -> int:
    """The id of an annotation, after another parser had a look at it where this one cannot tell."""
    if row is None:
        return _given_id(load(piece))
    if piece.count(b":") != _count_fields(row):
        # Lists of lists of numbers have no fields, and take the most time.
        load(piece.replace(row.segmentation, b"0", 1) if row.segmentation is not _NO_SEGMENTATION else piece)
    return row.id


def _count_fields(row: _Row) -> int:
    """How many of the fields are in the text."""
    optional = (row.iscrowd != _ABSENT) + (row.ignore != _ABSENT) + (row.segmentation is not _NO_SEGMENTATION)
    return _REQUIRED + optional


def _as_columns(
    positions: NDArray[np.int64], rows: list[_Row], polygons: list[list[list[float]]], places: list[tuple[int, int]]
) -> Typed:
    """Those of the annotations whose polygons are polygons."""
    parts = list(chain.from_iterable(polygons))
    owners = np.repeat(np.arange(len(rows)), np.fromiter(map(len, polygons), np.int64, len(rows)))
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    coordinates = np.bincount(owners, lengths, len(rows)).astype(np.int64)
    unsound = np.zeros(len(rows), bool)
    unsound[owners[encloses_nothing(lengths)]] = True
    unsound &= coordinates > 0  # [] and [[]] are no segmentations, not wrong ones
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
    segmentations = np.array(places, np.int64).reshape(-1, 2)
    segmentations[~present] = 0
    return Typed(
        positions,
        np.array([row.id for row in rows], np.int64),
        np.array([row.image_id for row in rows], np.int64),
        np.array([row.category_id for row in rows], np.int64),
        np.array([row.bbox for row in rows], np.float64).reshape(-1, 4),
        np.array([row.area for row in rows], np.float64),
        np.array([row.iscrowd == 1 for row in rows], bool),
        extents,
        segmentations,
    ).take(~unsound)


def _given_id(value: Any) -> int:
    return (as_integer(value.get("id")) if isinstance(value, dict) else None) or 0
