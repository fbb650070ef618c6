"""The list of annotations of a JSON file: a table of those whose fields have the right types, the others one by one.

Python objects for the 860,001 annotations of COCO's training set take gigabytes. So the text is cut into annotations,
and some thousand of them at a time are decoded straight into arrays. An annotation for which that fails, for whatever
reason, is left to be read by itself.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, compress
from typing import Annotated, Any, Literal, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from codetr.data.annotation_table import AnnotationTable
from codetr.data.validation.ids import LARGEST, as_integer
from codetr.data.validation.rules import NEARLY_NOTHING, is_degenerate_polygon

CHUNK_BYTES = 1 << 20
"""Bytes of annotations that are decoded together, approximately."""

_Id = Annotated[int, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
_ABSENT = -1
_INVALID = msgspec.UNSET
_SEARCH_BYTES = 1 << 10
"""Bytes after a segmentation in which the next one usually starts."""

_NO_SEGMENTATION = msgspec.Raw(b"null")


class _Row(msgspec.Struct, gc=False):
    """An annotation whose fields have the right types; it may have others."""

    id: _Id
    image_id: _Id
    category_id: _Id
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: Literal[0, 1] = _ABSENT  # type: ignore[assignment]
    ignore: Literal[0] = _ABSENT  # type: ignore[assignment]
    segmentation: msgspec.Raw = _NO_SEGMENTATION


_REQUIRED_FIELDS = 5
_ROWS = msgspec.json.Decoder(list[_Row])
_POLYGONS = msgspec.json.Decoder(list[list[list[float]] | None])
_VALUES = msgspec.json.Decoder(list[msgspec.Raw])
_NOT_BLANK = re.compile(rb"\S")
_BETWEEN_OBJECTS = re.compile(rb"\}[ \t\r\n]*(,)[ \t\r\n]*\{")


class _Columns(NamedTuple):
    """Rows of `RawAnnotations.table`, with their `positions` and `extents_xyxy`."""

    table: AnnotationTable
    positions: NDArray[np.int64]
    extents_xyxy: NDArray[np.float64]


class RawAnnotations(Sequence[Any]):
    """The annotations of a source, of any type: nothing is checked yet.

    Args:
        values: all of them, as Python's `json` reads them.

    Attributes:
        ids: (annotations,) int64 ids as given; 0 where there is none that is an integer.
        table: the annotations whose fields have the right types, values unchecked: `trainable` is every one that is
            not a crowd. All others have to be read one by one.
        positions: (rows,) int64 position of each row of `table` among all annotations, ascending.
        extents_xyxy: (rows, 4) float64 x1, y1, x2, y2 in pixels around the points of all polygons of each row; NaN
            without a segmentation.
    """

    def __init__(self, values: Sequence[Any]) -> None:
        self.ids = np.array([_given_id(value) for value in values], np.int64)
        self.table, self.positions, self.extents_xyxy = _to_columns(b"", np.array([], np.int64), [], [], [])
        self._values = values

    @classmethod
    def of_text(
        cls, text: bytes, start: int, stop: int, load: Callable[[bytes], Any], *, chunk_bytes: int = CHUNK_BYTES
    ) -> Self:
        """Return the annotations in a JSON text; as Python values they are decoded each time one is requested.

        Args:
            text: a whole file, known to be JSON, in UTF-8.
            start: byte at which the list of annotations begins.
            stop: byte after its end.
            load: decodes JSON to a Python value. It decides wherever there is doubt, and what it raises is passed on.
            chunk_bytes: bytes that are decoded together, approximately.

        Raises:
            msgspec.DecodeError: not a list.
        """
        annotations = cls(())
        values = _LazyValues(text, load)
        parts = [_Columns(annotations.table, annotations.positions, annotations.extents_xyxy)]
        ids = [annotations.ids]
        for begin, end, rows in _chunks(text, start, stop, chunk_bytes):
            columns, given = _read_chunk(text, begin, end, rows, len(values), load)
            parts.append(columns)
            ids.append(given)
            values.extend(begin, end, len(given))
        tables, positions, extents = zip(*parts, strict=True)
        annotations.ids = np.concatenate(ids)
        annotations.table = AnnotationTable.concatenate(tables)
        annotations.positions, annotations.extents_xyxy = np.concatenate(positions), np.concatenate(extents)
        annotations._values = values
        return annotations

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, position: Any) -> Any:
        return self._values[position]


class _LazyValues(Sequence[Any]):
    """Values that are decoded from a JSON text whenever one is requested; fast in sequential order."""

    def __init__(self, text: bytes, load: Callable[[bytes], Any]) -> None:
        self._text, self._load = text, load
        self._firsts: list[int] = []
        self._spans: list[tuple[int, int]] = []
        self._length = 0
        self._decoded: tuple[int, list[msgspec.Raw]] = -1, []

    def extend(self, start: int, stop: int, count: int) -> None:
        """Add the `count` values in this byte range of the text."""
        self._firsts.append(self._length)
        self._spans.append((start, stop))
        self._length += count

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: Any) -> Any:
        if not 0 <= position < self._length:
            raise IndexError(position)
        chunk = bisect_right(self._firsts, position) - 1
        if self._decoded[0] != chunk:
            start, stop = self._spans[chunk]
            self._decoded = chunk, _VALUES.decode(b"[%b]" % self._text[start:stop])
        return self._load(bytes(self._decoded[1][position - self._firsts[chunk]]))


def _chunks(text: bytes, start: int, stop: int, chunk_bytes: int) -> Iterator[tuple[int, int, list[Any]]]:
    """Yield byte ranges of a list with the rows in them, `_INVALID` where one is not of the type `_Row`.

    The text is cut at a comma between braces. Whether that comma separates two annotations, and is not inside one, is
    known by the text before it: only then is that a list as well.
    """
    begin, last, size = start + 1, stop - 1, chunk_bytes
    while _NOT_BLANK.search(text, begin, last):
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
        begin, size = following, chunk_bytes


def _decode(decoder: msgspec.json.Decoder[list[Any]], content: bytes) -> list[Any]:
    """Decode the entries of a list without its brackets; `_INVALID` for those that are not of the decoder's type."""
    try:
        return decoder.decode(b"[%b]" % content)
    except msgspec.ValidationError:
        return [_decode_one(decoder, bytes(value)) for value in _VALUES.decode(b"[%b]" % content)]


def _decode_one(decoder: msgspec.json.Decoder[list[Any]], content: bytes) -> Any:
    try:
        return decoder.decode(b"[%b]" % content)[0]
    except msgspec.ValidationError:
        return _INVALID


def _read_chunk(
    text: bytes, start: int, stop: int, read: list[Any], first: int, load: Callable[[bytes], Any]
) -> tuple[_Columns, NDArray[np.int64]]:
    """Return the typed annotations of a chunk, whose first one is at position `first`, and the ids of all of them."""
    segmentations = iter(_decode(_POLYGONS, b",".join([row.segmentation for row in read if row is not _INVALID])))
    polygons = [_INVALID if row is _INVALID else next(segmentations) for row in read]
    typed = [segmentation is not _INVALID for segmentation in polygons]
    rows, polygons = list(compress(read, typed)), list(compress(polygons, typed))
    ids = [row.id for row in rows]
    # As many colons as there are fields: so none is given twice, and there is no other.
    if len(rows) < len(read) or sum(map(_count_fields, rows)) != text.count(b":", start, stop):
        remaining = iter(rows)
        values = map(bytes, _VALUES.decode(b"[%b]" % text[start:stop]))
        ids = [
            _verify(value, next(remaining) if is_typed else None, load)
            for value, is_typed in zip(values, typed, strict=True)
        ]
    byte_ranges = []
    end = start
    for row, segmentation in zip(rows, polygons, strict=True):
        begin = end
        if segmentation:
            written = row.segmentation
            size = len(memoryview(written))
            begin = text.find(written, end, end + size + _SEARCH_BYTES)  # far faster than in a large text
            if begin < 0:
                begin = text.index(written, end, stop)
            end = begin + size
        byte_ranges.append((begin, end))
    positions = first + np.flatnonzero(typed)
    columns = _to_columns(text, positions, rows, [segmentation or [] for segmentation in polygons], byte_ranges)
    return columns, np.array(ids, np.int64)


def _verify(value: bytes, row: _Row | None, load: Callable[[bytes], Any]) -> int:
    """Return the id of an annotation, after `load` has read it where msgspec accepts more than `load` does."""
    if row is None:
        return _given_id(load(value))
    if value.count(b":") != _count_fields(row):
        # Lists of lists of numbers have no fields, and take the most time.
        load(value.replace(row.segmentation, b"0", 1) if row.segmentation is not _NO_SEGMENTATION else value)
    return row.id


def _count_fields(row: _Row) -> int:
    """Count the fields of the row that the text has."""
    optional = (row.iscrowd != _ABSENT) + (row.ignore != _ABSENT) + (row.segmentation is not _NO_SEGMENTATION)
    return _REQUIRED_FIELDS + optional


def _to_columns(
    text: bytes,
    positions: NDArray[np.int64],
    rows: list[_Row],
    polygons: list[list[list[float]]],
    byte_ranges: list[tuple[int, int]],
) -> _Columns:
    """Return the annotations whose polygons have three points or more, and enclose something."""
    parts = list(chain.from_iterable(polygons))
    row_of_part = np.repeat(np.arange(len(rows)), np.fromiter(map(len, polygons), np.int64, len(rows)))
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    coordinates = np.bincount(row_of_part, lengths, len(rows)).astype(np.int64)
    invalid = np.zeros(len(rows), bool)
    invalid[row_of_part[is_degenerate_polygon(lengths)]] = True
    invalid &= coordinates > 0  # [] and [[]] stand for no segmentation
    present = (coordinates > 0) & ~invalid
    numbers = array("d")
    for part in parts:
        numbers.fromlist(part)
    values = np.array(numbers, np.float64)
    # Those that seem to enclose nothing are looked at one by one.
    measured = present[row_of_part] & (lengths > 0)
    flat = _seem_flat(values[np.repeat(measured, lengths)].reshape(-1, 2), lengths[measured] // 2)
    invalid[row_of_part[measured][flat]] = True
    present &= ~invalid
    points = values[np.repeat(present[row_of_part], lengths)].reshape(-1, 2)
    extents_xyxy = np.full((len(rows), 4), np.nan)
    if present.any():
        firsts = np.cumsum(coordinates[present] // 2) - coordinates[present] // 2
        extents_xyxy[present, :2] = np.minimum.reduceat(points, firsts)
        extents_xyxy[present, 2:] = np.maximum.reduceat(points, firsts)
    segmentations = np.zeros((len(rows), 3), np.int64)
    segmentations[present, 1:] = np.array(byte_ranges, np.int64).reshape(-1, 2)[present]
    iscrowd = np.array([row.iscrowd == 1 for row in rows], bool)
    table = AnnotationTable(
        annotation_ids=np.array([row.id for row in rows], np.int64),
        image_ids=np.array([row.image_id for row in rows], np.int64),
        category_ids=np.array([row.category_id for row in rows], np.int64),
        boxes_xywh=np.array([row.bbox for row in rows], np.float64).reshape(-1, 4),
        areas=np.array([row.area for row in rows], np.float64),
        iscrowd=iscrowd,
        trainable=~iscrowd,
        ignored=np.zeros(len(rows), bool),
        segmentations=segmentations,
        texts=(text,),
    )
    valid = slice(None) if not invalid.any() else ~invalid
    return _Columns(table.take(~invalid), positions[valid], extents_xyxy[valid])


def _seem_flat(points: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (polygons,) whether the signed area of a polygon is nearly zero, given (n,) points of each, in order."""
    if not len(counts):
        return np.zeros(0, bool)
    firsts = np.cumsum(counts) - counts
    with np.errstate(over="ignore", invalid="ignore"):  # numbers of any size
        offsets = points - np.repeat(points[firsts], counts, axis=0)
        following = np.arange(1, len(points) + 1)
        following[firsts + counts - 1] = firsts
        crosses = offsets[:, 0] * offsets[following, 1] - offsets[following, 0] * offsets[:, 1]
        doubled = np.abs(np.add.reduceat(crosses, firsts))
        extents = np.maximum.reduceat(offsets, firsts) - np.minimum.reduceat(offsets, firsts)
        # More than the rule allows, since the sums differ in the last digits.
        sound: NDArray[np.bool_] = doubled > 10 * NEARLY_NOTHING * (extents**2).sum(axis=1)
    return ~sound


def _given_id(value: Any) -> int:
    return (as_integer(value.get("id")) if isinstance(value, dict) else None) or 0
