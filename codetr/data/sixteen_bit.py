"""Convert grey images of 16 bits to 8: by the range that the file declares, or by a setting where it declares none.

Cameras of 10, 12 and 14 bits, X-ray detectors and thermal sensors usually store their values unscaled in 16 bits. PNG
and TIFF do not say so, and the upper 8 bits of such values are nearly black.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from codetr.data.config import FULL_RANGE, Range16Bit

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO = 0
_SIGNED = 2
_SAMPLE_FORMATS = {1: "unsigned", _SIGNED: "signed", 3: "floating-point"}


def stored_bits(image: Image.Image) -> int:
    """Return the bits per channel of an opened image, before it is loaded: 16, or 8 for everything else that is read.

    It is 8 too where the file declares the range of its values, so that they fill the 16 bits.
    """
    codec, raw_mode = _encoding(image)
    if image.format == "JPEG2000" or codec.startswith("ppm") or not (image.mode.startswith("I") or ";16" in raw_mode):
        return 8
    return 8 if raw_mode == "I;12" else 16


def declared_range(image: Image.Image) -> Range16Bit | None:
    """Return the range of the values that Pillow will load, if the file declares it; None for 16 bits of any range.

    Args:
        image: opened, not yet loaded.
    """
    codec, raw_mode = _encoding(image)
    if raw_mode == "I;12":
        return 0, 4095
    # Pillow scales these by the precision, and by the maximum of the header, which says nothing only if it is 65535.
    return FULL_RANGE if image.format == "JPEG2000" or codec.startswith("ppm") else None


def grey_levels(image: Image.Image) -> NDArray[np.uint16] | None:
    """Return (height, width) uint16 values of a loaded grey image of 16 bits; None for any other image."""
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode == "I" and image.format == "PPM":
        return np.asarray(image).clip(*FULL_RANGE).astype(np.uint16)
    return None


def to_8_bits(values: NDArray[np.uint16], range_16bit: Range16Bit) -> NDArray[np.uint8]:
    """Scale uint16 values linearly to 0..255; those outside `range_16bit` are clipped.

    The full range gives the upper 8 bits.
    """
    if range_16bit == FULL_RANGE:
        return (values >> 8).astype(np.uint8)
    low, high = range_16bit
    scaled = (values.clip(low, high).astype(np.uint32) - low) * 256 // (high - low + 1)
    return scaled.astype(np.uint8)


def is_white_zero(image: Image.Image) -> bool:
    """Return whether low values are bright in a 16-bit TIFF; Pillow inverts such images only up to 8 bits."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def unsupported_pixels(image: Image.Image) -> str | None:
    """Describe pixels that have no known range, such as "16-bit signed"; None for those that can be converted."""
    bits, kind = 32, "floating-point" if image.mode == "F" else "signed"
    if isinstance(image, TiffImageFile):
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, (bits,))[0]
        sample_format = image.tag_v2.get(_SAMPLE_FORMAT, (1,))[0]
        if sample_format == _SIGNED or image.mode in ("I", "F"):
            return f"{bits}-bit {_SAMPLE_FORMATS.get(sample_format, kind)}"
    return f"{bits}-bit {kind}" if image.mode in ("I", "F") else None


def _encoding(image: Image.Image) -> tuple[str, str]:
    """Return the codec and the raw mode of an opened image that is not loaded yet; empty where it has none."""
    tiles = getattr(image, "tile", [])
    if not tiles:
        return "", ""
    codec, arguments = tiles[0][0], tiles[0][3]
    raw_mode = arguments if isinstance(arguments, str) else arguments[0] if arguments else ""
    maximum_is_65535 = codec == "ppm_plain" and arguments[-1] == FULL_RANGE[1]
    return "raw" if maximum_is_65535 else codec, raw_mode if isinstance(raw_mode, str) else ""
