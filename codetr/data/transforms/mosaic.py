"""Mosaic: four images in one (Bochkovskiy, Wang and Liao, "YOLOv4", 2020, section 3.3).

Laid out as Ultralytics' YOLOv5 and MMDetection do: the images meet in a point that is drawn around the middle of a
grey square. What becomes of the square afterwards, which those crop and scale at random, is up to the recipe's
augmentation, which takes it for an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from codetr.data.transforms.large_scale_jitter import Unreduced, cut
from codetr.data.transforms.preprocess import GREY
from codetr.data.transforms.resize import rescaled_size
from codetr.data.transforms.sample import Sample


def mosaic(images: Sequence[Unreduced], side: int, random: np.random.Generator) -> Unreduced:
    """Four images around a point, each as large as fits into a square, on grey.

    Args:
        images: top left, top right, bottom left, bottom right.
        side: of the square that an image is fitted into, in pixels; half the side of the result.
        random: what to draw the point from, at least half a `side` from every border.

    Returns:
        An image of (2 side, 2 side) pixels with the objects of which something is left; all of them have masks, or
        none where the images come without.
    """
    x, y = (int(value) for value in random.integers(side // 2, 2 * side - side // 2 + 1, 2))
    canvas = np.full((2 * side, 2 * side, 3), GREY, np.uint8)
    boxes, labels, pieces = [], [], []
    with_masks = all(image.masks is not None for image in images)
    for position, image in enumerate(images):
        rows, columns = image.sample.image.shape[:2]
        height, width = rescaled_size(rows, columns, side, side)
        left, top = x - width * (position % 2 == 0), y - height * (position < 2)
        hidden_left, hidden_top = max(-left, 0), max(-top, 0)
        shown = min(top + height, 2 * side) - max(top, 0), min(left + width, 2 * side) - max(left, 0)
        tile = cut(image, (height, width), (hidden_top, hidden_left, *shown))
        left, top = left + hidden_left, top + hidden_top
        place = slice(top, top + shown[0]), slice(left, left + shown[1])
        canvas[place] = tile.image
        boxes.append(tile.boxes + np.array([left, top, left, top], np.float32))
        labels.append(tile.labels)
        if tile.masks is not None:
            # Kept as bits, and laid on the square one by one: a hundred of a large square are gigabytes.
            pieces += [(place, mask) for mask in np.packbits(tile.masks, axis=-1)]
    sample = Sample(canvas, np.concatenate(boxes), np.concatenate(labels))
    return Unreduced(sample, _placed(pieces, 2 * side) if with_masks else None)


def _placed(pieces: Sequence[tuple[tuple[slice, slice], NDArray[np.uint8]]], side: int) -> Iterator[NDArray[np.bool_]]:
    """Each mask on the whole square, from its bits and where they belong."""
    for place, bits in pieces:
        mask = np.zeros((side, side), bool)
        mask[place] = np.unpackbits(bits, axis=-1, count=mask[place].shape[1])
        yield mask
