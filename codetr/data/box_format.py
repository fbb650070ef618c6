"""Recognise boxes that are written in another way than COCO's x, y, width, height in pixels, and convert them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codetr.data.config import BOX_FORMATS, BoxFormat

_RELATIVE = "relative_"
_VALID_SHARE, _WRONG_SHARE = 0.98, 0.1
_MARGIN = 0.02
"""Share of a side by which a box may exceed its image and still be valid."""

_SMALLEST = 8
"""Sides of images in pixels; in smaller ones, boxes of a pixel may be meant."""

_WRONG_EXCESS = 0.1
"""Share of a side by which a box exceeds its image clearly."""

_MINIMUM = 2
"""Fewer boxes than this show nothing: a single one may be an error by itself."""


def is_relative(box_format: BoxFormat) -> bool:
    """Return whether the numbers are shares of the sides of the image."""
    return box_format.startswith(_RELATIVE)


def to_xywh(boxes: NDArray[np.float64], sizes_wh: NDArray[np.float64], box_format: BoxFormat) -> NDArray[np.float64]:
    """Convert boxes to x, y, width, height in pixels.

    Args:
        boxes: (n, 4) in `box_format`.
        sizes_wh: (n, 2) width and height of the images in pixels.
        box_format: how they are written.

    Returns:
        (n, 4) boxes_xywh.
    """
    first, second = boxes[:, :2], boxes[:, 2:]
    if is_relative(box_format):
        first, second = first * sizes_wh, second * sizes_wh
    order = box_format.removeprefix(_RELATIVE)
    if order == "xyxy":
        second = second - first
    elif order == "cxcywh":
        first = first - second / 2
    return np.concatenate([first, second], axis=1)


def from_xywh(boxes: NDArray[np.float64], sizes_wh: NDArray[np.float64], box_format: BoxFormat) -> NDArray[np.float64]:
    """Convert x, y, width, height in pixels to another format; the inverse of `to_xywh`.

    Args:
        boxes: (n, 4) boxes_xywh.
        sizes_wh: (n, 2) width and height of the images in pixels.
        box_format: how they are to be written.

    Returns:
        (n, 4) in `box_format`.
    """
    first, second = boxes[:, :2], boxes[:, 2:]
    order = box_format.removeprefix(_RELATIVE)
    if order == "xyxy":
        second = first + second
    elif order == "cxcywh":
        first = first + second / 2
    if is_relative(box_format):
        first, second = first / sizes_wh, second / sizes_wh
    return np.concatenate([first, second], axis=1)


def recognise_box_format(
    boxes: NDArray[np.float64], sizes_wh: NDArray[np.float64], assumed: BoxFormat = "xywh"
) -> BoxFormat:
    """Return the format in which boxes are valid, if they are not in the one that is assumed; else that one.

    Boxes are relative if all numbers are in [0, 1], and then they are no pixels. Otherwise at least a tenth of them has
    to have no size, or to exceed the image clearly, in the assumed format, and nearly all have to fit it in the other.

    Args:
        boxes: (n, 4) numbers as given.
        sizes_wh: (n, 2) width and height of the images in pixels.
        assumed: the format in which they are read.
    """
    finite = np.isfinite(boxes).all(axis=1) & (np.abs(boxes) < 1e9).all(axis=1)
    boxes, sizes_wh = boxes[finite], sizes_wh[finite]
    if len(boxes) < _MINIMUM:
        return assumed
    within_one = ((boxes >= -_MARGIN) & (boxes <= 1 + _MARGIN)).all(axis=1)
    relative = within_one.mean() >= _VALID_SHARE and bool((boxes[:, 2:] > 0).any()) and np.median(sizes_wh) > _SMALLEST
    if is_relative(assumed) or not relative:
        wrong = 1 - _valid_share(to_xywh(boxes, sizes_wh, assumed), sizes_wh, _WRONG_EXCESS)
        if wrong < _WRONG_SHARE:
            return assumed
    for box_format in BOX_FORMATS:
        boxes_xywh = to_xywh(boxes, sizes_wh, box_format)
        # Shares beyond 1 are valid pixels, too, but of nothing.
        if is_relative(box_format) != relative or np.median(boxes_xywh[:, 2:]) < 1:
            continue
        if _valid_share(boxes_xywh, sizes_wh, _MARGIN) >= _VALID_SHARE:
            return box_format
    return assumed


def _valid_share(boxes_xywh: NDArray[np.float64], sizes_wh: NDArray[np.float64], excess: float) -> float:
    """Return the share of boxes that have a size and exceed their images by at most a share of the sides."""
    margin = excess * sizes_wh
    begins, ends = boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]
    valid = (begins >= -margin) & (ends <= sizes_wh + margin) & (boxes_xywh[:, 2:] > 0)
    return float(valid.all(axis=1).mean())
