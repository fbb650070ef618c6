"""The input and output of the transforms: an image with its annotations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """One image with its objects, in the same pixel coordinates.

    Attributes:
        image: (height, width, 3) uint8 RGB.
        boxes: (objects, 4) float32 xyxy pixels.
        labels: (objects,) int64.
        masks: (objects, height, width) bool, or None if only boxes are used.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_] | None = None
