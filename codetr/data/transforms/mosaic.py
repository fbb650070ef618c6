"""Mosaic: combine four images into one (Bochkovskiy, Wang and Liao, "YOLOv4", 2020, section 3.3).

The layout is that of Ultralytics' YOLOv5 and MMDetection: the images meet in a point that is drawn around the centre of
a grey square. Those crop and scale the square at random; here the augmentation of the recipe follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from codetr.data.transforms.large_scale_jitter import LazySample, resize_and_crop
from codetr.data.transforms.preprocess import GREY
from codetr.data.transforms.resize import rescaled_size
from codetr.data.transforms.sample import Sample


def mosaic(images: Sequence[LazySample], side: int, random: np.random.Generator) -> LazySample:
    """Combine four images, each resized to fit into a square, around a random point on grey.

    Args:
        images: top left, top right, bottom left, bottom right.
        side: of the square that an image is fitted into, in pixels; half the side of the result.
        random: the generator; the point is at least half a `side` from every border.

    Returns:
        An image of (2 side, 2 side) pixels with the objects that are still visible; all of them have masks, or none if
        the images have none.
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
        tile = resize_and_crop(image, (height, width), (hidden_top, hidden_left, *shown))
        left, top = left + hidden_left, top + hidden_top
        region = slice(top, top + shown[0]), slice(left, left + shown[1])
        canvas[region] = tile.image
        boxes.append(tile.boxes + np.array([left, top, left, top], np.float32))
        labels.append(tile.labels)
        if tile.masks is not None:
            # Stored as bits, and expanded to the square one by one: a hundred masks of a large square take gigabytes.
            pieces += [(region, mask) for mask in np.packbits(tile.masks, axis=-1)]
    sample = Sample(canvas, np.concatenate(boxes), np.concatenate(labels))
    return LazySample(sample, _on_square(pieces, 2 * side) if with_masks else None)


def _on_square(
    pieces: Sequence[tuple[tuple[slice, slice], NDArray[np.uint8]]], side: int
) -> Iterator[NDArray[np.bool_]]:
    """Yield each mask on the whole square, from its bits and its region."""
    for region, bits in pieces:
        mask = np.zeros((side, side), bool)
        mask[region] = np.unpackbits(bits, axis=-1, count=mask[region].shape[1])
        yield mask
