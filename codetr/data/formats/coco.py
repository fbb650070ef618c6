"""Read COCO annotation files, which are untrusted, in any encoding.

Most of such a file is its list of annotations, which is read as columns by msgspec. Python's `json` reads the rest, and
all of a file that msgspec rejects or that has repeated keys: `json` alone decides whether and why a file is invalid.
"""

from __future__ import annotations

import codecs
import io
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from codetr.core.errors import UserError
from codetr.core.system.gc_pause import paused_gc
from codetr.core.system.os_errors import unreadable
from codetr.data.formats.coco_columns import RawAnnotations
from codetr.data.formats.foreign import hint_for_content, hint_for_value
from codetr.data.validation.findings import Findings

MAX_BYTES = 16 << 30
"""Upper bound of an annotation file after decompression; far larger than any published set."""

_GZIP = b"\x1f\x8b"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class CocoFile:
    """The content of a COCO file, with entries of any type: nothing is checked yet.

    Attributes:
        images: the list `images`.
        annotations: the list `annotations`.
        categories: the list `categories`.
        content: the whole file, including these three lists.
    """

    images: list[Any]
    annotations: RawAnnotations
    categories: list[Any]
    content: dict[str, Any] = field(default_factory=dict)


@paused_gc()
def read_coco(path: Path, findings: Findings) -> CocoFile:
    """Read an annotation file: JSON as UTF-8 (or UTF-16 with a byte-order mark), plain or gzip-compressed.

    Raises:
        UserError: unreadable, not JSON, a key given twice, or not an object with the three lists.
    """
    where = str(path)
    text = _to_utf8(_read(path), where, findings)
    try:
        content = _cut_annotations(text)
    except (msgspec.MsgspecError, _RepeatedKeyError, ValueError, RecursionError):
        content = _parse(text, where)  # if the file is invalid, the error has the position in the whole file
    if not isinstance(content, dict):
        problem = f"holds a JSON {_json_type(content)}, expected an object with images, annotations and categories"
        raise UserError(problem, where=where, hint=hint_for_value(content))
    for key in ("images", "annotations", "categories"):
        if key not in content:
            usual = "A COCO detection file has the keys images, annotations and categories."
            hint = hint_for_value(content) or usual
            raise UserError(f"has no '{key}' (its keys: {_names(list(content))})", where=where, hint=hint)
        if not isinstance(content[key], list | RawAnnotations):
            raise UserError(f"'{key}' is a JSON {_json_type(content[key])}, expected a list", where=where)
    for key in ("images", "categories"):
        if not content[key]:
            raise UserError(f"the list '{key}' is empty", where=where)
    annotations = content["annotations"]
    if not isinstance(annotations, RawAnnotations):
        content["annotations"] = annotations = RawAnnotations(annotations)
    return CocoFile(content["images"], annotations, content["categories"], content)


def read_coco_json(path: Path) -> Any:
    """Read any JSON value in the encodings of `read_coco`, with all annotations as Python objects.

    Raises:
        UserError: unreadable, not JSON, or a key given twice.
    """
    where = str(path)
    return _parse(_to_utf8(_read(path), where, Findings()), where)


def _read(path: Path) -> bytes:
    where = str(path)
    content = io.BytesIO()
    try:
        with path.open("rb") as stream:
            compressed = stream.peek(2)[:2] == _GZIP  # a pipe of the shell cannot be read twice
            for part in _gunzip(stream, where) if compressed else iter(lambda: stream.read(_BLOCK), b""):
                content.write(part)
                if content.tell() > MAX_BYTES:
                    problem = "decompresses to more than" if compressed else "is larger than"
                    raise UserError(f"{problem} {MAX_BYTES >> 30} GiB", where=where)
    except IsADirectoryError:
        raise UserError("is a folder, expected a COCO file", where=where) from None
    except OSError as error:
        raise unreadable(error, where) from None
    text = content.getvalue()
    if not re.search(rb"\S", text):
        raise UserError("is empty", where=where)
    return text


def _gunzip(stream: Any, where: str) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(wbits=31)
    try:
        while block := stream.read(_BLOCK):
            while block:
                if decompressor.eof:  # files may be joined; other bytes behind the end have no meaning
                    if not _GZIP.startswith(block[:2]):
                        return
                    decompressor = zlib.decompressobj(wbits=31)
                yield decompressor.decompress(block, _BLOCK)
                block = decompressor.unconsumed_tail or decompressor.unused_data
    except zlib.error as error:
        raise UserError(f"is not valid gzip: {error}", where=where) from None
    if not decompressor.eof:
        raise UserError("is truncated gzip", where=where, hint="Download or copy it again.")


def _to_utf8(content: bytes, where: str, findings: Findings) -> bytes:
    """Return the text as valid UTF-8 without a byte-order mark."""
    encoding = "utf-8"
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if content.startswith(mark):
            encoding = name
            # Not the path of the file: it would make equal datasets differ.
            findings.add("file_encoding", name)
            break
    try:
        if encoding == "utf-16":
            return content.decode(encoding).encode()
        text = content.removeprefix(codecs.BOM_UTF8)
        if not text.isascii():
            _require_utf8(text)
        return text
    except UnicodeDecodeError as error:
        hint = hint_for_content(content) or "Save it as UTF-8, or check that it is an annotation file at all."
        raise UserError(f"is not {encoding} text (byte {error.start})", where=where, hint=hint) from None


def _require_utf8(text: bytes) -> None:
    """Raise `UnicodeDecodeError` unless the bytes are UTF-8, without decoding all of them at once."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(text), _BLOCK):
            decoder.decode(text[start : start + _BLOCK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        text.decode()  # its error has the position in the whole text


def _parse(text: bytes, where: str) -> Any:
    try:
        return _load(text)
    except json.JSONDecodeError as error:
        problem = f"is not valid JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        truncated = "It seems to be truncated." if error.pos >= len(error.doc.rstrip()) else None
        raise UserError(problem, where=where, hint=hint_for_content(text) or truncated) from None
    except RecursionError:
        raise UserError("is nested too deeply to be an annotation file", where=where) from None
    except _RepeatedKeyError as error:
        hint = "Only one of the values can be meant; remove the other."
        raise UserError(f"an object has the key '{error}' twice", where=where, hint=hint) from None
    except ValueError as error:  # An integer of more digits than Python converts.
        raise UserError(f"is not valid JSON: {error}", where=where) from None


class _File(msgspec.Struct):
    annotations: msgspec.Raw


def _cut_annotations(text: bytes) -> dict[str, Any]:
    """Parse a file with its annotations as columns.

    Raises:
        ValueError, RecursionError, _RepeatedKeyError, msgspec.MsgspecError: `json` has to read the file.
    """
    # A raw message is a view of the text.
    found = np.frombuffer(msgspec.json.decode(text, type=_File).annotations, np.uint8)
    start = found.ctypes.data - np.frombuffer(text, np.uint8).ctypes.data
    stop = start + len(found)
    if text[start : start + 1] != b"[":
        raise ValueError("not a list")
    # The rest has the key `annotations` twice if the file has.
    content: dict[str, Any] = _load(text[:start] + b"[]" + text[stop:])
    content["annotations"] = RawAnnotations.of_text(text, start, stop, _load)
    return content


def _load(text: bytes) -> Any:
    return json.loads(text.decode(), object_pairs_hook=_without_repeated_keys)


class _RepeatedKeyError(Exception):
    pass


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raise `_RepeatedKeyError` for a repeated key: JSON does not define it, and `json` drops the first value."""
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RepeatedKeyError(key)
            seen.add(key)
    return values


def _names(keys: Sequence[str]) -> str:
    shown = ", ".join(repr(key[:40]) for key in keys[:10])
    return (f"{shown}, ..." if len(keys) > 10 else shown) or "none"


def _json_type(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    names = ((dict, "object"), (list, "list"), (str, "string"))
    return next((name for kind, name in names if isinstance(value, kind)), "number")
