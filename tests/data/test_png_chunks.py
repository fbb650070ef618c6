"""Metadata of PNG files: it neither hides the pixels nor costs the decoding of them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from codetr.data.images import header_of, open_image, parse_image
from codetr.data.png_chunks import MAX_TEXT, MAX_TEXTS, SIGNATURE, with_metadata_first

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def exif(orientation: int) -> bytes:
    values = Image.Exif()
    values[0x0112] = orientation
    return values.tobytes()[6:]


def png(*, before: bytes = b"", behind: bytes = b"") -> bytes:
    """A PNG of `PIXELS` with further chunks before and behind the pixels."""
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")
    content = stream.getvalue()
    data, end = content.index(b"IDAT") - 4, content.index(b"IEND") - 4
    return content[:data] + before + content[data:end] + behind + content[end:]


LARGE = b"x" * (2 << 20)
LARGE_CHUNKS = {
    "zTXt": chunk(b"zTXt", b"notes\0\0" + zlib.compress(LARGE)),
    "iTXt": chunk(b"iTXt", b"notes\0\1\0en\0notes\0" + zlib.compress(LARGE)),
    "plain iTXt": chunk(b"iTXt", b"notes\0\0\0en\0notes\0" + LARGE),
    "tEXt": chunk(b"tEXt", b"notes\0" + LARGE),
    "iCCP": chunk(b"iCCP", b"profile\0\0" + zlib.compress(LARGE)),
    "many": chunk(b"zTXt", b"notes\0\0" + zlib.compress(LARGE[:MAX_TEXT])) * (3 * MAX_TEXTS // MAX_TEXT),
}


@pytest.mark.parametrize("name", LARGE_CHUNKS)
@pytest.mark.parametrize("position", ["before", "behind"])
def test_large_texts_and_profiles_do_not_hide_the_pixels(name: str, position: str) -> None:
    """Pillow refuses the file, other programs show it: the image was lost as unreadable."""
    content = png(**{position: LARGE_CHUNKS[name]})
    assert np.array_equal(parse_image(content, "image"), PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_behind_the_pixels_is_found_without_decoding_them(orientation: int) -> None:
    """The standard allows EXIF behind the pixels, and YOLO's sizes need the orientation of every image."""
    content = png(behind=LARGE_CHUNKS["zTXt"] + chunk(b"eXIf", exif(orientation)))
    damaged = bytearray(content)
    damaged[content.index(b"IDAT") + 10 : content.index(b"IDAT") + 30] = bytes(20)
    for version in (content, bytes(damaged)):
        with open_image(version, "image") as image:
            assert header_of(image).orientation == orientation
    expected = (9, 6) if orientation >= 5 else (6, 9)
    assert parse_image(content, "image").shape[:2] == expected


def test_other_files_are_not_copied() -> None:
    for content in (png(), png(behind=chunk(b"tEXt", b"date:create\0now")), b"", b"\xff\xd8\xff", SIGNATURE):
        stream = io.BytesIO(content)
        assert with_metadata_first(stream) is stream
        assert stream.tell() == 0


KINDS = st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"abCd"])
CHUNKS = st.lists(st.builds(chunk, KINDS, st.binary(max_size=40)), max_size=4).map(b"".join)


@given(before=CHUNKS, behind=CHUNKS, end=st.integers(0, 400))
def test_pixels_stay_the_same_whatever_the_metadata(before: bytes, behind: bytes, end: int) -> None:
    """The chunks are rearranged, so an error in that would damage sound files."""
    result = with_metadata_first(io.BytesIO(png(before=before, behind=behind))).read()
    data = png()[png().index(b"IDAT") - 4 :]
    assert data[: data.index(b"IEND") - 4] in result
    with_metadata_first(io.BytesIO(png(before=before, behind=behind)[:end]))
