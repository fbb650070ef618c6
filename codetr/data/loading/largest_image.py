"""The largest image that augmentation can give, to find out how much memory a batch may take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codetr.data.config import Augmentation, JitterConfig, PreprocessConfig
from codetr.data.dataset.split import Split
from codetr.data.transforms.resize import rescaled_size

_MOSAIC = 4
"""Images in a mosaic."""


@dataclass(frozen=True)
class LargestImage:
    """Upper bounds for the images of a training batch.

    Attributes:
        height: of the canvas in pixels, padding included.
        width: of the canvas in pixels, padding included.
        objects: to train on in one image.
    """

    height: int
    width: int
    objects: int


def largest_image(split: Split, augmentation: Augmentation, preprocess: PreprocessConfig) -> LargestImage:
    """Return upper bounds for the images of a split after augmentation.

    Args:
        split: the training split.
        augmentation: of the recipe.
        preprocess: how far images are padded.
    """
    images, _ = split.trainable_objects
    objects = int(np.bincount(images, minlength=1).max())
    if augmentation.mosaic is not None:
        objects *= _MOSAIC
    if isinstance(augmentation, JitterConfig):
        return LargestImage(augmentation.canvas, augmentation.canvas, objects + augmentation.max_pasted)
    short_side, long_side = max(augmentation.short_sides), augmentation.long_side
    if augmentation.crop is not None:
        # A crop may be of any shape, in any batch.
        height = width = max(short_side, long_side)
    else:
        sizes = [(int(height), int(width)) for height, width in np.unique(split.sizes, axis=0)]
        if augmentation.mosaic is not None:
            sizes.append((2 * augmentation.mosaic.side,) * 2)
        scaled = [rescaled_size(*size, short_side, long_side) for size in sizes]
        # The last batch of an epoch may hold images of both orientations.
        height, width = max(size[0] for size in scaled), max(size[1] for size in scaled)
    divisor = preprocess.pad_divisor if preprocess.canvas is None else 1
    return LargestImage(height + -height % divisor, width + -width % divisor, objects)
