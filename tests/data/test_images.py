"""Reading images: every common kind as the same RGB, and reasons for what cannot be read."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from codetr.core.errors import UserError
from codetr.data.images import (
    ImageHeader,
    decode_image,
    header_of,
    open_image,
    parse_image,
    read_header,
    read_image,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)


def upright(turn: int, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a viewer shows, by EXIF 2.3: the tag names the corner and direction of row 0 and column 0."""
    if turn >= 5:
        stored = stored.transpose(1, 0, 2)
    if turn in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    if turn in (3, 4, 7, 8):
        stored = stored[::-1]
    return stored


def encoded(pixels: NDArray[np.uint8], kind: str, orientation: int | None, **options: Any) -> bytes:
    """The content of an image file with an orientation tag, written by Pillow."""
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, exif=exif, **options)
    return stream.getvalue()


def invalid_tiff(orientation: int) -> bytes:
    """The same of a TIFF with a value that libtiff does not write: the entry of the tag is changed in the file."""
    content = encoded(PIXELS, "TIFF", 6)
    entry = struct.pack("<HHI", 0x0112, 3, 1)
    assert content.count(entry) == 1
    start = content.index(entry) + len(entry)
    return content[:start] + struct.pack("<H", orientation) + content[start + 2 :]


FORMATS_WITH_EXIF = [
    ("JPEG", {}),
    ("MPO", {}),
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "jpeg"}),
    ("AVIF", {}),
]


@pytest.mark.parametrize("orientation", [None, 0, *range(1, 10), 65535])
@pytest.mark.parametrize(("kind", "options"), FORMATS_WITH_EXIF, ids=lambda value: "-".join(value) or None)
def test_every_format_is_turned_as_pillow_turns_it(kind: str, options: dict[str, Any], orientation: int | None) -> None:
    """Pillow turns a TIFF while it loads it, and no other format: turned twice, its boxes are on the wrong pixels."""
    valid = orientation is None or 1 <= orientation <= 8
    if kind == "TIFF" and not valid:
        assert orientation is not None
        content = invalid_tiff(orientation)
    else:
        content = encoded(PIXELS, kind, orientation, **options)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    turned = parse_image(content, "image")
    assert np.array_equal(turned, expected)
    with open_image(content, "image") as image:
        header = header_of(image)
    assert header.orientation == (orientation if orientation is not None and valid else 1)
    assert (header.height, header.width) == (6, 9)
    assert header.size(upright=True) == turned.shape[:2]
    stored = parse_image(content, "image", upright=False)
    assert stored.shape[:2] == (6, 9)
    assert np.array_equal(upright(header.orientation, stored), turned)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG"])
@pytest.mark.parametrize("loaded", [False, True])
def test_an_opened_image_is_turned_once_whether_it_is_loaded_or_not(kind: str, loaded: bool) -> None:
    """`model.predict(Image.open(file))` would draw other boxes than `model.predict(file)`."""
    with Image.open(io.BytesIO(encoded(PIXELS, kind, 6))) as image:
        if loaded:
            image.load()
        turned = decode_image(image, "image")
    assert np.array_equal(turned, parse_image(encoded(PIXELS, kind, 6), "image"))


def test_orientation_in_xmp_is_applied() -> None:
    """Some editors write XMP only; viewers and `ImageOps.exif_transpose` turn the image by it."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    for kind in ("JPEG", "WEBP"):
        content = encoded(PIXELS, kind, None, xmp=xmp)
        with Image.open(io.BytesIO(content)) as image:
            expected = np.asarray(ImageOps.exif_transpose(image))
        assert expected.shape == (9, 6, 3)
        assert np.array_equal(parse_image(content, "image"), expected)


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation(tmp_path: Path, turn: int) -> None:
    """Phones store photos sideways; boxes drawn on the upright photo must meet their objects."""
    path = tmp_path / "turned.png"
    path.write_bytes(encoded(PIXELS, "PNG", turn))
    assert np.array_equal(read_image(path), upright(turn, PIXELS))
    assert np.array_equal(read_image(path, upright=False), PIXELS)
    assert read_header(path) == ImageHeader(6, 9, turn, 1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    image.save(tmp_path / "image.png")
    assert np.array_equal(read_image(tmp_path / "image.png"), np.asarray(image.convert("RGB")))


def test_transparency_is_ignored(tmp_path: Path) -> None:
    alpha = np.zeros((6, 9, 1), np.uint8)
    Image.fromarray(np.concatenate([PIXELS, alpha], 2)).save(tmp_path / "image.png")
    assert np.array_equal(read_image(tmp_path / "image.png"), PIXELS)


def test_of_16_bits_the_upper_8_are_used(tmp_path: Path) -> None:
    """Pillow's conversion clips to 255, which makes nearly everything white."""
    values = np.arange(54, dtype=np.uint16).reshape(6, 9) * 1200
    Image.fromarray(values).save(tmp_path / "image.png")
    assert np.array_equal(read_image(tmp_path / "image.png")[..., 0], (values >> 8).astype(np.uint8))


@pytest.mark.parametrize("suffix", ["jpg", "webp", "bmp", "tiff", "gif", "ppm", "jp2", "avif", "dib"])
def test_formats_are_recognised_by_content(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(PIXELS).save(tmp_path / f"image.{suffix}")
    with Image.open(tmp_path / f"image.{suffix}") as image:
        expected = np.asarray(image.convert("RGB"))
    renamed = (tmp_path / f"image.{suffix}").rename(tmp_path / "image.dat")
    assert np.array_equal(read_image(renamed), expected)


def test_formats_that_start_programs_are_not_read(tmp_path: Path) -> None:
    """Pillow hands PostScript to Ghostscript; a picture from outside must not run anything."""
    Image.fromarray(PIXELS).save(tmp_path / "image.eps")
    with pytest.raises(UserError, match="is not an image: unknown format"):
        read_image(tmp_path / "image.eps")


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
        (lambda path: cut(path, 0), "is empty"),
        (lambda path: cut(path, 10), "is not an image"),
        (lambda path: cut(path, path.stat().st_size // 2), "is damaged: image file is truncated"),
        (lambda path: path.write_bytes(os.urandom(500)), "is not an image: unknown format"),
        (lambda path: Image.new("F", (4, 4)).save(path, format="TIFF"), "has 32-bit floating-point pixels"),
        (lambda path: Image.new("1", (20000, 20000)).save(path, format="PNG"), "has more than 178,956,970 pixels"),
        (lambda path: Image.new("1", (14000, 14000)).save(path, format="PNG"), "has more than 178,956,970 pixels"),
    ],
)
def test_unreadable_images_are_user_errors(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(PIXELS.repeat(10, 0).repeat(10, 1)).save(path)
    damage(path)
    with pytest.raises(UserError, match=message) as caught:
        read_image(path)
    assert caught.value.where == str(path)


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    """Opening a FIFO waits until something writes to it: `predict FOLDER` never ended."""
    os.mkfifo(tmp_path / "image.jpg")
    with pytest.raises(UserError, match="is not a regular file"):
        read_image(tmp_path / "image.jpg")
    with pytest.raises(UserError, match="is not a regular file"):
        read_header(Path("/dev/zero"))


def test_names_that_are_no_file_names_are_user_errors(tmp_path: Path) -> None:
    for name, message in [("a\0b.jpg", "is not a file name"), ("x" * 300, "cannot be read: file name too long")]:
        with pytest.raises(UserError, match=message):
            read_image(tmp_path / name)


def test_large_images_are_read_without_a_warning(tmp_path: Path) -> None:
    """Pillow warns from half of the limit on, and where warnings are errors the image was "not an image"."""
    Image.new("1", (9000, 10000)).save(tmp_path / "large.png")
    Image.new("1", (9000, 10000)).save(tmp_path / "large.tif", compression="group4")
    for name in ("large.png", "large.tif"):
        assert read_header(tmp_path / name).size(upright=True) == (10000, 9000)
    with open_image(tmp_path / "large.tif", "image") as image:
        image.load()


def test_the_limit_of_pixels_can_be_raised_and_lowered(tmp_path: Path) -> None:
    """Orthophotos and slides are larger than any limit that suits a server."""
    path = tmp_path / "image.png"
    Image.fromarray(PIXELS).save(path)
    assert read_image(path, max_pixels=54).shape == (6, 9, 3)
    with pytest.raises(UserError, match=r"has more than 53 pixels.*--max-pixels"):
        read_image(path, max_pixels=53)
    Image.new("1", (9000, 10000)).save(path)
    with pytest.raises(UserError, match="has more than 53 pixels"):  # not Pillow's warning, an error here
        read_image(path, max_pixels=53)
    Image.new("1", (20000, 9000)).save(path)
    assert read_header(path, max_pixels=200_000_000).width == 20000


def test_large_images_are_copied_in_strips() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2100, 2100, 3)).astype(np.uint8)
    assert np.array_equal(decode_image(Image.fromarray(pixels), "image"), pixels)


def test_a_damaged_second_page_does_not_hide_the_first() -> None:
    """Counting the pages of such a TIFF ended `prepare` with a traceback."""
    stream = io.BytesIO()
    pages = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:])
    content = bytearray(stream.getvalue())
    (first,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, first)
    (second,) = struct.unpack_from("<I", content, first + 2 + 12 * entries)
    struct.pack_into("<H", content, second + 2, 255)  # the width gets another tag
    with open_image(bytes(content), "image") as image:
        assert header_of(image) == ImageHeader(6, 9, 1, 1)
        assert np.array_equal(decode_image(image, "image"), PIXELS)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (bytes(128) + b"DICM" + bytes(20), "DICOM"),
        (b"\xff\x0a" + bytes(30), "JPEG XL"),
        (b"v/1\x01" + bytes(30), "OpenEXR"),
    ],
)
def test_formats_that_are_not_read_are_named(content: bytes, name: str) -> None:
    """Photographs of phones and medical images are sound files: "not an image" would be looked for in vain."""
    with pytest.raises(UserError, match=f"is in the format {name}, which is not read. Formats that can be read: JPEG"):
        parse_image(content, "image")


@pytest.mark.parametrize("tag", [(254, 4, 1), (50706, 4, 0x00000401)])
def test_the_preview_of_a_raw_file_is_not_taken_for_the_image(tag: tuple[int, int, int]) -> None:
    """The first page of a DNG or NEF is a thumbnail: boxes would be in its pixels."""
    content = bytearray(encoded(PIXELS, "TIFF", None))
    entry = struct.pack("<HHI", 284, 3, 1)  # planar configuration: its default is what it says
    start = content.index(entry)
    struct.pack_into("<HHII", content, start, tag[0], tag[1], 1, tag[2])
    with pytest.raises(UserError, match="is a raw file of a camera, of which only a small preview can be read"):
        parse_image(bytes(content), "image")
