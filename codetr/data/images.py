"""Read image files of common formats as 8-bit RGB, with errors that name the file and the problem."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from codetr.core.errors import UserError

MAX_PIXELS = 178_956_970
"""Pillow's limit against decompression bombs: beyond it a small file can exhaust the memory."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
"""Pillow formats that are read, recognised by content, whatever the file's name. Some others start programs."""

# fmt: off
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".jfif", ".jpe", ".mpo", ".apng",
    ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc", ".avifs",
)
# fmt: on
"""File names, in any case, that count as images wherever a folder is listed. A file named by itself needs none.

They are all names of `FORMATS`, most frequent first, except those of files that cannot be read: .pfm has pixels of no
known range."""

_ORIENTATION = 0x0112
# EXIF 2.3, section 4.6.4: the operation that turns the stored pixels upright, by the value of the tag.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageHeader:
    """The header of an image file, known before its pixels are decoded.

    Attributes:
        height: rows as stored.
        width: columns as stored.
        orientation: EXIF orientation 1..8; 1 (upright) when absent or invalid.
        frames: pages or animation frames; only the first is ever used.
    """

    height: int
    width: int
    orientation: int
    frames: int

    def size(self, *, upright: bool) -> tuple[int, int]:
        """Return (height, width) as stored, or with the EXIF orientation applied."""
        turned = upright and self.orientation >= 5
        return (self.width, self.height) if turned else (self.height, self.width)


def read_header(path: Path) -> ImageHeader:
    """Read the header of an image file.

    Raises:
        UserError: missing, empty, not an image, or of more than `MAX_PIXELS` pixels.
    """
    with _open(path, str(path)) as image:
        return _header(image)


def read_image(path: Path, *, upright: bool = True) -> NDArray[np.uint8]:
    """Decode the first frame of an image file.

    Transparency is ignored, palettes and CMYK are converted, 16-bit grey is reduced to its upper 8 bits.

    Args:
        path: an image file of a format that Pillow reads.
        upright: apply the EXIF orientation.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        UserError: missing, empty, not an image, damaged, too large, or with pixels of no known range.
    """
    with _open(path, str(path)) as image:
        return decode_image(image, str(path), upright=upright)


def parse_header(content: bytes, where: str) -> ImageHeader:
    """Parse the header of an image file's content; `where` names it in errors, see `read_header`."""
    with _open(io.BytesIO(content), where) as image:
        return _header(image)


def parse_image(content: bytes, where: str, *, upright: bool = True) -> NDArray[np.uint8]:
    """Decode an image file's content; `where` names it in errors, see `read_image`."""
    with _open(io.BytesIO(content), where) as image:
        return decode_image(image, where, upright=upright)


def decode_image(image: Image.Image, where: str, *, upright: bool = True) -> NDArray[np.uint8]:
    """Return the pixels of an opened image, converted as `read_image` does.

    Args:
        image: of any mode.
        where: its name in errors.
        upright: apply the EXIF orientation.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        UserError: damaged, or with pixels of no known range.
    """
    orientation = _orientation(image) if upright else 1
    try:
        image.load()
        rgb = _to_rgb(image, where)
    # Decoders of broken data raise almost anything: OSError, SyntaxError, ValueError, struct.error, ...
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"is damaged: {_reason(error)}", where=where) from None
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    return np.array(rgb)


def _open(source: Path | io.BytesIO, where: str) -> Image.Image:
    try:
        image = Image.open(source, formats=FORMATS)
    except FileNotFoundError:
        raise UserError("no such file", where=where) from None
    except IsADirectoryError:
        raise UserError("is a folder, not an image", where=where) from None
    except PermissionError:
        raise UserError("may not be read", where=where, hint="Check the file's permissions.") from None
    except Image.DecompressionBombError:
        raise UserError(f"has more than {MAX_PIXELS:,} pixels", where=where) from None
    except Exception as error:
        if (source.stat().st_size if isinstance(source, Path) else len(source.getbuffer())) == 0:
            raise UserError("is empty", where=where) from None
        hint = f"Formats that can be read: {', '.join(FORMATS)}."
        raise UserError(f"is not an image: {_reason(error)}", where=where, hint=hint) from None
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise UserError(f"has more than {MAX_PIXELS:,} pixels", where=where)
    return image


def _header(image: Image.Image) -> ImageHeader:
    return ImageHeader(image.height, image.width, _orientation(image), getattr(image, "n_frames", 1))


def _reason(error: Exception) -> str:
    """Return the message of the decoder; Pillow's 'cannot identify' repeats the path, which the error has anyway."""
    if isinstance(error, UnidentifiedImageError):
        return "unknown format"
    return " ".join(str(error).split()) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    # A broken EXIF block says nothing about the pixels, which are decoded without it.
    except Exception:
        return 1
    return value if value in _UPRIGHT else 1


def _to_rgb(image: Image.Image, where: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        hint = "Convert it to 8 bits per channel: the file does not define the range of its values."
        raise UserError(f"has 32-bit pixels ({image.mode})", where=where, hint=hint)
    if image.mode == "P":
        image = image.convert("RGBA")  # a transparent palette cannot be converted to RGB at once
    return image.convert("RGB")
