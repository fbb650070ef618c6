"""An image with its annotations on the way through the transforms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """One image with its objects, in one frame.

    Attributes:
        image: (height, width, 3) uint8 RGB.
        boxes: (objects, 4) float32 xyxy pixels.
        labels: (objects,) int64.
        masks: (objects, height, width) bool, or None when only boxes are wanted.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_] | None = None
