"""Bilinear image resizing in fixed-point arithmetic, bit-identical on every machine.

The published weights of the detectors were trained and evaluated on images resized by OpenCV's `INTER_LINEAR`: no
antialiasing, weights of 11 fractional bits, one rounding of the 22-bit sum after 4 + 16 bits were shifted out. The same
integer arithmetic gives the same bytes without the dependency, on any instruction set. Antialiased resizing (Pillow)
differs by tens of grey levels when shrinking, floating-point interpolation (PyTorch) by one in every eighth value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BITS = 11
_BLOCK_VALUES = 1 << 16
"""Values per block of output rows, so that the intermediate sums stay in the processor's cache."""


def rescaled_size(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    """Return (height, width) with the shorter side scaled to `short_side`, or the longer one to `long_side` if smaller.

    The sides may be given in either order, and a result is never smaller than one pixel.
    """
    long_side, short_side = max(short_side, long_side), min(short_side, long_side)
    scale = min(long_side / max(height, width), short_side / min(height, width))
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize an image.

    Args:
        image: (image_height, image_width, 3) uint8.
        height: rows of the result.
        width: columns of the result.

    Returns:
        (height, width, 3) uint8.
    """
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    left, right, left_weight, right_weight = _columns(columns, width)
    top, bottom, top_weight, bottom_weight = _taps(rows, height)

    # Four bytes per pixel can be gathered as one machine word, which is far faster than gathering three bytes.
    four = np.zeros((rows, columns, 4), np.uint8)
    four[..., :3] = image
    words = four.view(np.uint32)[..., 0]
    sums = _gather(words, left) * left_weight
    sums += _gather(words, right) * right_weight
    sums >>= 4

    result = np.empty((height, 4 * width), np.uint8)
    block = max(1, _BLOCK_VALUES // (4 * width))
    for start in range(0, height, block):
        part = slice(start, start + block)
        upper = sums[top[part]]
        upper *= top_weight[part, None]
        upper >>= 16
        lower = sums[bottom[part]]
        lower *= bottom_weight[part, None]
        lower >>= 16
        upper += lower
        upper += 2
        upper >>= 2
        result[part] = upper
    return np.ascontiguousarray(result.reshape(height, width, 4)[..., :3])


def resize_mask(
    mask: NDArray[np.bool_], height: int, width: int, window: tuple[slice, slice] = (slice(None), slice(None))
) -> NDArray[np.bool_]:
    """Resize a (mask_height, mask_width) bool mask: every pixel has the value at its rounded-down source position.

    Only the `window`, rows and columns of the (height, width) result, is computed and returned.
    """
    rows, columns = mask.shape
    row = np.minimum((np.arange(height) * (rows / height)).astype(np.int64), rows - 1)
    column = np.minimum((np.arange(width) * (columns / width)).astype(np.int64), columns - 1)
    resized: NDArray[np.bool_] = mask[row[window[0], None], column[window[1]]]
    return resized


def _gather(words: NDArray[np.uint32], columns: NDArray[np.int64]) -> NDArray[np.int32]:
    taken = np.take(words, columns, axis=1)
    return taken.view(np.uint8).reshape(len(words), -1).astype(np.int32)


def _taps(
    size: int, new_size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Return indices and fixed-point weights of the two source pixels of every new pixel along one axis."""
    position = ((np.arange(new_size) + 0.5) * (size / new_size) - 0.5).astype(np.float32)
    first = np.floor(position)
    fraction = position - first
    one = np.float32(1 << _BITS)
    second_weight = np.rint(fraction * one).astype(np.int32)
    first_weight = np.rint((np.float32(1) - fraction) * one).astype(np.int32)
    index = first.astype(np.int64)
    return np.clip(index, 0, size - 1), np.clip(index + 1, 0, size - 1), first_weight, second_weight


def _columns(
    size: int, new_size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Return `_taps` with full weight on one pixel at the border, and weights repeated for each of 4 channels.

    Rows at the border keep two weights on the same pixel, whose products are truncated separately: OpenCV does so, and
    some values are one grey level lower.
    """
    first, second, first_weight, second_weight = _taps(size, new_size)
    border = first == second
    first_weight[border] = 1 << _BITS
    second_weight[border] = 0
    return first, second, np.repeat(first_weight, 4), np.repeat(second_weight, 4)
