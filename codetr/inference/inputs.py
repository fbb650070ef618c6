"""Convert images of any supported type (file, Pillow image, array, tensor) to 8-bit RGB pixels."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from codetr.core.errors import UserError
from codetr.data.config import FULL_RANGE, MAX_PIXELS, Range16Bit
from codetr.data.images import decode_image, read_image
from codetr.data.storage.paths import is_url

if TYPE_CHECKING:
    from typing_extensions import TypeIs

ImageInput: TypeAlias = str | os.PathLike[str] | Image.Image | NDArray[Any] | Tensor
"""One image: a path, a Pillow image, an array (height, width, 3) or a tensor (3, height, width).

Arrays and tensors are RGB, uint8 in 0..255 or floating point in 0..1.
"""

_ROUNDING = 1e-3
"""Resampling and arithmetic in half precision leave values a little outside of 0..1."""


@dataclass(frozen=True)
class RawImage:
    """One decoded image.

    Attributes:
        pixels: (height, width, 3) uint8 RGB.
        path: the file it was read from, None if it was not a file.
    """

    pixels: NDArray[np.uint8]
    path: Path | None = None


def is_single(images: ImageInput | Iterable[ImageInput]) -> TypeIs[ImageInput]:
    """Return whether this is one image rather than several; arrays and tensors with four axes are several."""
    if isinstance(images, np.ndarray | Tensor):
        return images.ndim < 4
    return isinstance(images, str | os.PathLike | Image.Image) or not isinstance(images, Iterable)


def as_rgb(
    image: ImageInput, where: str, *, range_16bit: Range16Bit = FULL_RANGE, max_pixels: int = MAX_PIXELS
) -> RawImage:
    """Decode one image.

    Files and Pillow images are turned upright by their EXIF orientation.

    Args:
        image: see `ImageInput`.
        where: names the image in errors if it is not a file.
        range_16bit: values that become black and white in 16-bit grey files and Pillow images.
        max_pixels: pixels of the largest file that is decoded.

    Raises:
        UserError: it cannot be read, or its type, shape or values are not those of an image.
    """
    if isinstance(image, str | os.PathLike):
        if is_url(os.fspath(image)):
            raise image_address_error(os.fspath(image))
        path = Path(image)
        return RawImage(read_image(path, range_16bit=range_16bit, max_pixels=max_pixels), path)
    if isinstance(image, Image.Image):
        pixels = decode_image(image, where, range_16bit=range_16bit)
    elif isinstance(image, Tensor):
        pixels = _from_tensor(image, where)
    elif isinstance(image, np.ndarray):
        pixels = _from_array(image, where)
    else:
        hint = "An image is a path, a Pillow image, an array (height, width, 3) or a tensor (3, height, width)."
        raise UserError(f"is a {type(image).__name__}", where=where, hint=hint)
    if not pixels.size:
        raise UserError("has no pixels", where=where)
    return RawImage(pixels)


def image_address_error(address: str) -> UserError:
    """Return the error for an address where an image file is expected."""
    return UserError("is an address, not a file", where=address, hint="Download the image, and give its file.")


def _from_tensor(image: Tensor, where: str) -> NDArray[np.uint8]:
    if image.ndim != 3 or image.shape[0] != 3:
        hint = "A tensor is (3, height, width); arrays of NumPy are (height, width, 3)."
        raise UserError(f"is a tensor of shape {tuple(image.shape)}", where=where, hint=hint)
    if image.layout is not torch.strided or image.is_meta:
        kind = "meta" if image.is_meta else str(image.layout).removeprefix("torch.")
        raise UserError(f"is a {kind} tensor, which has no array of pixels", where=where)
    image = image.detach().cpu()
    # NumPy has no bfloat16.
    values = (image.float() if image.is_floating_point() else image).permute(1, 2, 0).numpy()
    return _as_bytes(values, where)


def _from_array(image: NDArray[Any], where: str) -> NDArray[np.uint8]:
    if image.ndim != 3 or image.shape[2] != 3:
        hint = "An array is (height, width, 3), RGB; Pillow converts other kinds: Image.fromarray(array)."
        raise UserError(f"is an array of shape {image.shape}", where=where, hint=hint)
    return _as_bytes(image, where)


def _as_bytes(values: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Convert uint8, or floating point in 0..1 up to rounding, to contiguous uint8."""
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    hint = "Give uint8 in 0..255, or floating point in 0..1."
    if not np.issubdtype(values.dtype, np.floating):
        raise UserError(f"has values of type {values.dtype}", where=where, hint=hint)
    if values.size and not (values.min() >= -_ROUNDING and values.max() <= 1 + _ROUNDING):  # also True for NaN
        problem = f"has values from {values.min():.4g} to {values.max():.4g}, expected 0 to 1"
        raise UserError(problem, where=where, hint=f"{hint} The model normalises images itself.")
    return np.ascontiguousarray((values.clip(0, 1) * 255 + 0.5).astype(np.uint8))
