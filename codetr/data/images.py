"""Read image files of common formats as 8-bit RGB, with errors that name the file and the problem."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from codetr.core.errors import UserError
from codetr.core.files import open_regular_file
from codetr.core.system.os_errors import is_system_failure, unreadable
from codetr.data.config import FULL_RANGE, MAX_PIXELS, Range16Bit
from codetr.data.pixel_limit import pillow_limit
from codetr.data.png_chunks import with_metadata_first
from codetr.data.sixteen_bit import (
    declared_range,
    grey_levels,
    is_white_zero,
    stored_bits,
    to_8_bits,
    unsupported_pixels,
)

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

_OTHER_FORMATS = {
    "HEIC": (4, b"ftyphei"),
    "HEIF": (4, b"ftypmif1"),
    "JPEG XL": (0, b"\xff\x0a"),
    "JPEG XL (container)": (0, b"\0\0\0\x0cJXL "),
    "DICOM": (128, b"DICM"),
    "OpenEXR": (0, b"v/1\x01"),
    "Radiance HDR": (0, b"#?RADIANCE"),
    "Photoshop": (0, b"8BPS"),
    "CR3": (4, b"ftypcrx"),
    "SVG": (0, b"<svg"),
}
"""Where these formats have which bytes."""

_ORIENTATION = 0x0112
# TIFF 6.0, section 8, and DNG 1.7, chapter 4.
_NEW_SUBFILE_TYPE, _REDUCED, _DNG_VERSION = 254, 1, 50706
_STRIP_PIXELS = 1 << 22
"""Pixels that are copied at a time, so that a large image is not in memory three times."""

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
_AS_STORED = _UPRIGHT | {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


@dataclass(frozen=True)
class ImageHeader:
    """The header of an image file, known before its pixels are decoded.

    Attributes:
        height: rows as stored.
        width: columns as stored.
        orientation: EXIF orientation 1..8; 1 (upright) when absent or invalid.
        frames: pages or animation frames; only the first is ever used.
        bits: per channel; 16 only where the file does not declare the range of its values.
    """

    height: int
    width: int
    orientation: int
    frames: int
    bits: int = 8

    def size(self, *, upright: bool) -> tuple[int, int]:
        """Return (height, width) as stored, or with the EXIF orientation applied."""
        turned = upright and self.orientation >= 5
        return (self.width, self.height) if turned else (self.height, self.width)


def read_header(path: Path, *, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Read the header of an image file.

    Raises:
        UserError: missing, empty, not a regular file, not an image, or of more than `max_pixels` pixels.
    """
    with open_image(path, str(path), max_pixels=max_pixels) as image:
        return header_of(image)


def read_image(
    path: Path, *, upright: bool = True, range_16bit: Range16Bit = FULL_RANGE, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode the first frame of an image file.

    Transparency is ignored, palettes and CMYK are converted. 16-bit grey is scaled to 8 bits, linearly: from the range
    that the file declares, if it does, else from `range_16bit`.

    Args:
        path: an image file of one of `FORMATS`.
        upright: apply the EXIF orientation.
        range_16bit: values of 16-bit grey that become black and white.
        max_pixels: pixels of the largest image that is decoded.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        UserError: missing, empty, not a regular file, not an image, damaged, too large, or with pixels of no known
            range.
    """
    with open_image(path, str(path), max_pixels=max_pixels) as image:
        return decode_image(image, str(path), upright=upright, range_16bit=range_16bit)


def parse_image(
    content: bytes,
    where: str,
    *,
    upright: bool = True,
    range_16bit: Range16Bit = FULL_RANGE,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """Decode an image file's content; `where` names it in errors, see `read_image`."""
    with open_image(content, where, max_pixels=max_pixels) as image:
        return decode_image(image, where, upright=upright, range_16bit=range_16bit)


@contextmanager
def open_image(source: Path | bytes, where: str, *, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open an image file, or its content, to read its header and to decode it within the context.

    Args:
        source: an image file, or its content.
        where: its name in errors.
        max_pixels: pixels of the largest image that is decoded.

    Raises:
        UserError: missing, empty, not a regular file, not an image, or too large.
    """
    with ExitStack() as stack:
        stream = _open_file(source, where) if isinstance(source, Path) else io.BytesIO(source)
        stack.enter_context(stream)
        stack.enter_context(pillow_limit(max(max_pixels, MAX_PIXELS)))  # a lower limit must not make it warn
        image = stack.enter_context(_identify(stream, where, max_pixels))
        yield image


def header_of(image: Image.Image) -> ImageHeader:
    """Return the header of an image that `open_image` has opened, and that is not decoded yet."""
    height, width = image.height, image.width
    if isinstance(image, TiffImageFile):  # its size is the one after it is turned
        height, width = image.tag_v2[IMAGELENGTH], image.tag_v2[IMAGEWIDTH]
    bits = stored_bits(image)
    return ImageHeader(height, width, _orientation(image), _frames(image), bits)


def decode_image(
    image: Image.Image, where: str, *, upright: bool = True, range_16bit: Range16Bit = FULL_RANGE
) -> NDArray[np.uint8]:
    """Return the pixels of an opened image, converted as `read_image` does.

    Args:
        image: of any mode.
        where: its name in errors.
        upright: apply the EXIF orientation.
        range_16bit: values of 16-bit grey that become black and white.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        UserError: damaged, or with pixels of no known range.
    """
    orientation = 1 if upright else _orientation(image)
    try:
        range_16bit = declared_range(image) or range_16bit
        image.load()
        # Pillow turns a TIFF upright while it loads it, and forgets the orientation; all other formats are as stored.
        remaining = _orientation(image)
        rgb = _to_rgb(image, where, range_16bit)
        if upright and remaining in _UPRIGHT:
            rgb = rgb.transpose(_UPRIGHT[remaining])
        elif not upright and remaining != orientation:
            rgb = rgb.transpose(_AS_STORED[orientation])
        return _as_array(rgb)
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"does not fit into memory ({image.width}x{image.height})", where=where) from None
    # Decoders of broken data raise almost anything: OSError, SyntaxError, ValueError, struct.error, ...
    except Exception as error:
        _raise_if_of_system(error, where)
        raise UserError(f"is damaged: {_reason(error)}", where=where) from None


def _open_file(path: Path, where: str) -> BinaryIO:
    try:
        return open_regular_file(path)
    except IsADirectoryError:
        raise UserError("is a folder, not an image", where=where) from None
    except OSError as error:
        raise unreadable(error, where) from None
    except ValueError:  # a NUL in the name
        raise UserError("is not a file name", where=where) from None


def _identify(stream: BinaryIO, where: str, max_pixels: int) -> Image.Image:
    try:
        image = Image.open(with_metadata_first(stream), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(where, max_pixels) from None
    except Exception as error:
        _raise_if_of_system(error, where)
        if _is_empty(stream):
            raise UserError("is empty", where=where) from None
        hint = f"Formats that can be read: {', '.join(FORMATS)}."
        if (other := _other_format(stream)) is not None:
            raise UserError(f"is in the format {other}, which is not read", where=where, hint=hint) from None
        raise UserError(f"is not an image: {_reason(error)}", where=where, hint=hint) from None
    if image.width * image.height > max_pixels:
        image.close()
        raise _too_large(where, max_pixels)
    if _is_preview(image):
        image.close()
        hint = "Convert it to TIFF, PNG or JPEG with a program for raw images."
        raise UserError("is a raw file of a camera, of which only a small preview can be read", where=where, hint=hint)
    return image


def _raise_if_of_system(error: Exception, where: str) -> None:
    """Raise what a disk or a server has reported while a decoder was reading: it is no fault of the image."""
    if isinstance(error, OSError) and is_system_failure(error):
        raise unreadable(error, where) from None


def _is_preview(image: Image.Image) -> bool:
    """Return whether the first page of a TIFF is a reduced version of a raw image, as in DNG, NEF and ARW."""
    if not isinstance(image, TiffImageFile):
        return False
    subfile = image.tag_v2.get(_NEW_SUBFILE_TYPE)
    return _DNG_VERSION in image.tag_v2 or (isinstance(subfile, int) and bool(subfile & _REDUCED))


def _other_format(stream: BinaryIO) -> str | None:
    """Return the name of a format of images that is known but not read."""
    with suppress(OSError):
        stream.seek(0)
        start = stream.read(132)
        return next((name for name, (at, mark) in _OTHER_FORMATS.items() if start[at : at + len(mark)] == mark), None)
    return None


def _is_empty(stream: BinaryIO) -> bool:
    try:
        return stream.seek(0, io.SEEK_END) == 0
    except OSError:  # files of the kernel cannot be searched
        return False


def _too_large(where: str, max_pixels: int) -> UserError:
    hint = "Set max_pixels (of `codetr predict`: --max-pixels) if this machine has the memory, or cut it into tiles."
    return UserError(f"has more than {max_pixels:,} pixels", where=where, hint=hint)


def _reason(error: Exception) -> str:
    """Return the message of the decoder; Pillow's 'cannot identify' repeats the path, which the error has anyway."""
    if isinstance(error, UnidentifiedImageError):
        return "unknown format"
    return " ".join(str(error).split()) or type(error).__name__


def _frames(image: Image.Image) -> int:
    try:
        return getattr(image, "n_frames", 1)
    # Frames that cannot be found are as good as absent: only the first is read.
    except Exception:
        with suppress(Exception):
            image.seek(0)
        return 1


def _orientation(image: Image.Image) -> int:
    try:
        # Not `image.getexif()`, which decodes the pixels of a PNG: its metadata is in front of them.
        value = Image.Image.getexif(image).get(_ORIENTATION, 1)
    # A broken EXIF block says nothing about the pixels, which are decoded without it.
    except Exception:
        return 1
    return value if value in _UPRIGHT else 1


def _to_rgb(image: Image.Image, where: str, range_16bit: Range16Bit) -> Image.Image:
    grey = grey_levels(image)
    if grey is not None:
        values = to_8_bits(grey, range_16bit)
        return Image.fromarray(255 - values if is_white_zero(image) else values).convert("RGB")
    if unsupported := unsupported_pixels(image):
        hint = "Convert it to 8 bits per channel: the file does not define the range of its values."
        raise UserError(f"has {unsupported} pixels", where=where, hint=hint)
    if image.mode == "P":
        image = image.convert("RGBA")  # a transparent palette cannot be converted to RGB at once
    return image if image.mode == "RGB" else image.convert("RGB")


def _as_array(rgb: Image.Image) -> NDArray[np.uint8]:
    pixels = np.empty((rgb.height, rgb.width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // max(1, rgb.width))
    for top in range(0, rgb.height, rows):
        bottom = min(top + rows, rgb.height)
        pixels[top:bottom] = np.asarray(rgb.crop((0, top, rgb.width, bottom)))
    return pixels
