"""16-bit grey images: scaled from the range that the file or a setting gives."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.config import FULL_RANGE
from codetr.data.images import header_of, open_image, parse_image
from codetr.data.sixteen_bit import to_8_bits

VALUES = np.arange(54, dtype=np.uint16).reshape(6, 9)


def png(values: NDArray[np.uint16]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def pgm(values: NDArray[np.uint16], maximum: int, *, plain: bool = False) -> bytes:
    rows, columns = values.shape
    if plain:
        return f"P2 {columns} {rows} {maximum} {' '.join(map(str, values.ravel()))}".encode()
    return f"P5 {columns} {rows} {maximum}\n".encode() + values.astype(">u2").tobytes()


def tiff(values: NDArray[np.int64], bits: int, *, sample_format: int = 1, photometric: int = 1) -> bytes:
    """An uncompressed little-endian grey TIFF of 12 (packed), 8 or 16 bits."""
    rows, columns = values.shape
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(np.uint32)
        packed = (pairs[:, 0] << 12 | pairs[:, 1]).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
        data = packed.tobytes()
    else:
        data = values.astype(f"<{'i' if sample_format == 2 else 'u'}{bits // 8}").tobytes()
    entries = [(256, 4, columns), (257, 4, rows), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8)]
    entries += [(277, 3, 1), (278, 4, rows), (279, 4, len(data)), (339, 3, sample_format)]
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(entries)) + table + bytes(4)


def grey(content: bytes, range_16bit: tuple[int, int] = FULL_RANGE) -> NDArray[np.uint8]:
    pixels = parse_image(content, "image", range_16bit=range_16bit)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def test_twelve_bits_in_sixteen_are_scaled_by_the_setting() -> None:
    """Of values up to 4095 the upper 8 bits are 0 to 15: the images are black, in training and in inference."""
    values = VALUES * 77
    for content in (png(values), pgm(values, 65535), pgm(values, 65535, plain=True), tiff(values.astype(int), 16)):
        assert np.array_equal(grey(content, (0, 4095)), values >> 4)
        assert np.array_equal(grey(content), values >> 8)
        with open_image(content, "image") as image:
            assert header_of(image).bits == 16


def test_netpbm_says_what_its_maximum_is() -> None:
    """PGM records the maximum, so that its range is known: it was refused as of 32-bit pixels."""
    for maximum in (256, 1023, 4095, 60000):
        values = (VALUES.astype(float) / VALUES.max() * maximum).astype(np.uint16)
        for plain in (False, True):
            expected = np.round(values.astype(float) / maximum * 65535).astype(np.uint16) >> 8
            assert np.array_equal(grey(pgm(values, maximum, plain=plain), (0, 4095)), expected)


def test_packed_twelve_bits_fill_the_range() -> None:
    """A TIFF of 12 bits per sample declares its range; its values were taken for those of 16 bits."""
    values = VALUES.astype(int).reshape(9, 6) * 77  # rows begin at whole bytes
    assert np.array_equal(grey(tiff(values, 12)), values >> 4)


def test_low_values_are_bright_where_a_tiff_says_so() -> None:
    """X-ray images are often stored with white as zero; Pillow inverts them up to 8 bits only."""
    values = VALUES.astype(int) * 1200
    assert np.array_equal(grey(tiff(values, 16, photometric=0)), 255 - (values >> 8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff(VALUES.astype(int) - 20, 16, sample_format=2), "has 16-bit signed pixels"),
        (tiff(VALUES.astype(int) - 20, 8, sample_format=2), "has 8-bit signed pixels"),
        (b"Pf 2 1 -1.0\n" + bytes(8), "has 32-bit floating-point pixels"),
    ],
)
def test_pixels_of_no_known_range_are_named(content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_image(content, "image")


def test_integers_of_32_bits_are_named(tmp_path: Path) -> None:
    Image.fromarray(VALUES.astype(np.int32)).save(tmp_path / "image.tiff")
    with pytest.raises(UserError, match="has 32-bit signed pixels"):
        parse_image((tmp_path / "image.tiff").read_bytes(), "image")


LIMITS = st.tuples(st.integers(0, 65534), st.integers(1, 65535)).filter(lambda limits: limits[0] < limits[1])


@given(LIMITS)
def test_every_range_is_mapped_to_all_of_8_bits_in_order(limits: tuple[int, int]) -> None:
    low, high = limits
    values = np.linspace(0, 65535, 500).astype(np.uint16)
    scaled = to_8_bits(values, limits).astype(int)
    assert (np.diff(scaled) >= 0).all()
    assert (scaled[values <= low] == 0).all()
    assert to_8_bits(np.array([high], np.uint16), limits)[0] >= 255 * (high - low) // (high - low + 1)


def test_the_full_range_gives_the_upper_bits() -> None:
    """A setting equal to the default must not change a number."""
    values = np.arange(65536, dtype=np.uint32)
    assert np.array_equal(to_8_bits(values.astype(np.uint16), FULL_RANGE), values * 256 // 65536)
