"""Rearrange the metadata of PNG files that Pillow refuses, or reads only after all pixels.

Pillow refuses a file whose compressed text or colour profile expands beyond a megabyte, although the pixels are sound;
and it decodes the pixels to find the orientation in a chunk behind them.
Format: W3C, "Portable Network Graphics (PNG) Specification (Third Edition)", sections 5.3 and 11.3.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MAX_TEXT = 1 << 18
"""Bytes of one text or profile that are kept; the largest EXIF block, in hexadecimal, has half of it."""

MAX_TEXTS = 1 << 25
"""Bytes of all texts and profiles that are kept."""

_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_ORIENTED = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
"""Keywords of texts that may hold the orientation."""


def with_metadata_first(stream: BinaryIO) -> BinaryIO:
    """Return a PNG file without texts that are too large, and with the metadata on orientation before the pixels.

    Args:
        stream: a file, at its start.

    Returns:
        `stream`, at its start, if it is like that already, or no PNG file; else a copy in memory.
    """
    if stream.read(len(SIGNATURE)) != SIGNATURE:
        stream.seek(0)
        return stream
    dropped: list[tuple[int, int]] = []
    moved: list[tuple[int, int]] = []
    first_pixels: int | None = None
    position, texts = len(SIGNATURE), 0
    while len(header := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        end = position + length + 12
        if kind == b"IDAT" and first_pixels is None:
            first_pixels = position
        elif kind in _TEXTS:
            content = stream.read(length)
            size = _expanded_size(kind, content)
            if size > MAX_TEXT or texts + size > MAX_TEXTS:
                dropped.append((position, end))
            else:
                texts += size
                if first_pixels is not None and content.startswith(_ORIENTED):
                    moved.append((position, end))
        elif kind == b"eXIf" and first_pixels is not None:
            moved.append((position, end))
        elif kind == b"IEND":
            break
        position = end
        stream.seek(position)
    stream.seek(0)
    if not dropped and not moved:
        return stream
    return _rearranged(stream.read(), dropped, moved, first_pixels)


def _expanded_size(kind: bytes, content: bytes) -> int:
    """Return the bytes of a text after decompression, or one more than `MAX_TEXT` if there are more."""
    _, _, compressed = content.partition(b"\0")
    if kind == b"iTXt" and compressed[:1] == b"\1":
        compressed = compressed[2:].split(b"\0", 2)[-1]  # after the flag, the method, language and translated keyword
    elif kind in (b"zTXt", b"iCCP"):
        compressed = compressed[1:]  # after the method
    else:
        return len(content)
    try:
        return len(zlib.decompressobj().decompress(compressed, MAX_TEXT + 1))
    except zlib.error:
        return len(content)


def _rearranged(
    content: bytes, dropped: list[tuple[int, int]], moved: list[tuple[int, int]], first_pixels: int | None
) -> BinaryIO:
    result = io.BytesIO()
    view, position = memoryview(content), 0
    for start, end in sorted([*dropped, *moved]):
        if first_pixels is not None and position <= first_pixels < start:
            result.write(view[position:first_pixels])
            result.writelines(view[first:last] for first, last in moved)
            position = first_pixels
        result.write(view[position:start])
        position = end
    result.write(view[position:])
    result.seek(0)
    return result
