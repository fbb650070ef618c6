"""Reading images: every common kind as the same RGB, and reasons for what cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.images import ImageHeader, read_header, read_image

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


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation(tmp_path: Path, turn: int) -> None:
    """Phones store photos sideways; boxes drawn on the upright photo must meet their objects."""
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / "turned.png"
    Image.fromarray(PIXELS).save(path, exif=exif)
    assert np.array_equal(read_image(path), upright(turn, PIXELS))
    assert np.array_equal(read_image(path, upright=False), PIXELS)
    header = read_header(path)
    assert header == ImageHeader(6, 9, turn, 1)
    assert header.size(upright=True) == read_image(path).shape[:2]
    assert header.size(upright=False) == (6, 9)


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
        (lambda path: Image.new("F", (4, 4)).save(path, format="TIFF"), "has 32-bit pixels"),
        (lambda path: Image.new("1", (20000, 20000)).save(path, format="PNG"), "has more than 178,956,970 pixels"),
        (lambda path: Image.new("1", (14000, 14000)).save(path, format="PNG"), "has more than 178,956,970 pixels"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_unreadable_images_are_user_errors(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(PIXELS.repeat(10, 0).repeat(10, 1)).save(path)
    damage(path)
    with pytest.raises(UserError, match=message) as caught:
        read_image(path)
    assert caught.value.where == str(path)
