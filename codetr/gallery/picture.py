"""One picture of a gallery."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class GalleryPicture:
    """A drawn picture.

    Attributes:
        name: of the image file.
        caption: text below the picture.
        image: the picture.
        labels: the label of every object that is drawn.
    """

    name: str
    caption: str
    image: Image.Image
    labels: list[int]


def reduced_mask(mask: NDArray[np.bool_], long_side: int) -> NDArray[np.bool_]:
    """Return a mask that is no larger than a picture: those of all objects of a large image would fill the memory."""
    height, width = mask.shape
    scale = long_side / max(height, width)
    if scale >= 1:
        return mask
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
