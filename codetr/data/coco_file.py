"""Reading COCO annotation files from outside: any encoding they come in, nothing they could do to us."""

from __future__ import annotations

import codecs
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codetr.data.findings import Findings
from codetr.errors import UserError

MAX_BYTES = 16 << 30
"""Upper bound of an annotation file after decompression; larger than any published set by far."""

_GZIP = b"\x1f\x8b"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class CocoFile:
    """A COCO file, with entries of any type: nothing is checked yet.

    Attributes:
        images: the list of this name.
        annotations: likewise.
        categories: likewise.
        content: the whole file, these three lists included.
    """

    images: list[Any]
    annotations: list[Any]
    categories: list[Any]
    content: dict[str, Any] = field(default_factory=dict)


def read_coco(path: Path, findings: Findings) -> CocoFile:
    """Read an annotation file: JSON as UTF-8 (or UTF-16 with a byte-order mark), plain or gzip-compressed.

    Raises:
        UserError: unreadable, not JSON, a key given twice, or not an object with the three lists.
    """
    where = str(path)
    content = _parse(_decode(_read(path), where, findings), where)
    if not isinstance(content, dict):
        problem = f"holds a JSON {_json_type(content)}, expected an object with images, annotations and categories"
        raise UserError(problem, where=where)
    lists: list[list[Any]] = []
    for key in ("images", "annotations", "categories"):
        if key not in content:
            hint = "A COCO detection file has the keys images, annotations and categories."
            raise UserError(f"has no '{key}' (its keys: {_names(list(content))})", where=where, hint=hint)
        if not isinstance(content[key], list):
            raise UserError(f"'{key}' is a JSON {_json_type(content[key])}, expected a list", where=where)
        lists.append(content[key])
    for key, values in zip(("images", "categories"), (lists[0], lists[2]), strict=True):
        if not values:
            raise UserError(f"the list '{key}' is empty", where=where)
    return CocoFile(lists[0], lists[1], lists[2], content)


def _read(path: Path) -> bytes:
    where = str(path)
    try:
        with path.open("rb") as stream:
            if stream.read(2) != _GZIP:
                stream.seek(0)
                content = stream.read(MAX_BYTES + 1)
            else:
                stream.seek(0)
                content = _gunzip(stream, where)
    except FileNotFoundError:
        raise UserError("no such file", where=where) from None
    except IsADirectoryError:
        raise UserError("is a folder, expected a COCO annotation file", where=where) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}", where=where) from None
    if len(content) > MAX_BYTES:
        raise UserError(f"is larger than {MAX_BYTES >> 30} GiB", where=where)
    if not content.strip():
        raise UserError("is empty", where=where)
    return content


def _gunzip(stream: Any, where: str) -> bytes:
    parts, total = [], 0
    decompressor = zlib.decompressobj(wbits=31)
    try:
        while block := stream.read(_BLOCK):
            while block:
                part = decompressor.decompress(block, _BLOCK)
                total += len(part)
                if total > MAX_BYTES:
                    raise UserError(f"decompresses to more than {MAX_BYTES >> 30} GiB", where=where)
                parts.append(part)
                block = decompressor.unconsumed_tail
    except zlib.error as error:
        raise UserError(f"is not valid gzip: {error}", where=where) from None
    if not decompressor.eof:
        raise UserError("is gzip that ends in the middle: the file was cut short", where=where)
    return b"".join(parts)


def _decode(content: bytes, where: str, findings: Findings) -> str:
    encoding = "utf-8"
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if content.startswith(mark):
            encoding = name
            # Without the file's path, which would make equal datasets differ.
            findings.add("file_encoding", name)
            break
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        hint = "Save it as UTF-8, or check that it is an annotation file at all."
        raise UserError(f"is not {encoding} text (byte {error.start})", where=where, hint=hint) from None


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_repeated_keys)
    except json.JSONDecodeError as error:
        cut_short = error.pos >= len(text.rstrip())
        problem = f"is not valid JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        raise UserError(problem, where=where, hint="It seems to be cut short." if cut_short else None) from None
    except RecursionError:
        raise UserError("is nested too deeply to be an annotation file", where=where) from None
    except _RepeatedKeyError as error:
        hint = "Only one of the values can be meant; remove the other."
        raise UserError(f"an object has the key '{error}' twice", where=where, hint=hint) from None
    except ValueError as error:  # An integer of more digits than Python converts.
        raise UserError(f"is not valid JSON: {error}", where=where) from None


class _RepeatedKeyError(Exception):
    pass


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON leaves open what a repeated key means; taking the last value would lose the first silently."""
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
