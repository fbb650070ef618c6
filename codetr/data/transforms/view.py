"""Views: what the network sees of an image (all of it or a region, mirrored or not) and how that is preprocessed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from codetr.data.config import PreprocessConfig


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in pixels; `right` and `bottom` are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.bottom - self.top, self.right - self.left


@dataclass(frozen=True, slots=True)
class View:
    """What the network sees of one image.

    Attributes:
        image: index of the image.
        region: the part of the image, in its pixels.
        preprocess: how the part is resized, normalised and padded.
        mirrored: whether the part is mirrored left to right.
    """

    image: int
    region: Region
    preprocess: PreprocessConfig
    mirrored: bool = False

    @classmethod
    def whole(cls, image: int, size: tuple[int, int], preprocess: PreprocessConfig) -> View:
        """Return the view of a whole image of `size` (height, width)."""
        height, width = size
        return cls(image, Region(0, 0, width, height), preprocess)

    def mirror(self) -> View:
        """Return this view mirrored left to right."""
        return replace(self, mirrored=not self.mirrored)

    def crop(self, region: Region) -> View:
        """Return the part of this view within `region`, which is in pixels of the view."""
        left, right = region.left, region.right
        if self.mirrored:
            width = self.region.size[1]
            left, right = width - right, width - left
        x, y = self.region.left, self.region.top
        return replace(self, region=Region(x + left, y + region.top, x + right, y + region.bottom))

    def pixels(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut the view out of its image: (height, width, 3) uint8 RGB, contiguous, before preprocessing."""
        part = image[self.region.top : self.region.bottom, self.region.left : self.region.right]
        return np.ascontiguousarray(part[:, ::-1] if self.mirrored else part)
