"""Detection in tiles: large images in pieces at full resolution, and as a whole for what does not fit into a piece."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codetr.data.config import PreprocessConfig
from codetr.inference.box_fusion import suppress
from codetr.inference.config import TilesConfig
from codetr.inference.predictor import Predictor, batched
from codetr.models.masks import RegionMasks
from codetr.models.structures import Detections

_IOU_THRESHOLD = 0.5
_MARGIN = 0.01
"""How near to a cut a box counts as cut, in sides of a tile: boxes of cut objects end about there, not exactly."""


@dataclass(frozen=True)
class Tile:
    """A piece of an image: its corners in pixels of the image, the right and the bottom one exclusive."""

    left: int
    top: int
    right: int
    bottom: int


class TiledInference(Predictor):
    """A model that looks at large images in tiles, and as a whole. It has the interface of a model.

    What touches a border of a tile within the image is left out: it is cut there, and whole in the next tile or, if
    it is larger than the overlap of the tiles, in the image as a whole. An image that fits into one tile is only
    looked at as a whole.

    Args:
        model: what to show the tiles to.
        tile: side of the square tiles, in pixels of the image. Tiles are resized as images are; nothing is gained
            by tiles larger than the network's input.
        overlap: how much of a tile its neighbours share with it at least, as a fraction of its side.
        batch_size: tiles that are detected at once.
    """

    def __init__(self, model: Predictor, *, tile: int, overlap: float = 0.25, batch_size: int = 1) -> None:
        config = TilesConfig.parse({"size": tile, "overlap": overlap, "batch_size": batch_size}, where="tiles")
        self.model, self.info, self.config = model, model.info, config

    def detect(
        self, images: Sequence[NDArray[np.uint8]], preprocess: PreprocessConfig | None = None
    ) -> list[Detections]:
        """See `Predictor.detect`."""
        wholes = self.model.detect(images, preprocess)
        return [
            suppress([whole, *self._pieces(image, preprocess)], _IOU_THRESHOLD)
            for image, whole in zip(images, wholes, strict=True)
        ]

    def _pieces(self, image: NDArray[np.uint8], preprocess: PreprocessConfig | None) -> Iterator[Detections]:
        """What is found in every tile, in pixels of the image, without what is cut."""
        height, width = image.shape[:2]
        tiles = cut(height, width, self.config.size, self.config.overlap)
        for batch in batched(tiles, self.config.batch_size):
            pieces = [np.ascontiguousarray(image[tile.top : tile.bottom, tile.left : tile.right]) for tile in batch]
            for tile, found in zip(batch, self.model.detect(pieces, preprocess), strict=True):
                yield place(found, tile, (height, width), self.config.size * _MARGIN)


def cut(height: int, width: int, size: int, overlap: float) -> list[Tile]:
    """Tiles of side `size` that cover an image evenly and overlap by at least that fraction; none if one is enough."""
    if height <= size and width <= size:
        return []
    rows, columns = (_starts(length, size, overlap) for length in (height, width))
    return [Tile(left, top, min(left + size, width), min(top + size, height)) for top in rows for left in columns]


def _starts(length: int, size: int, overlap: float) -> list[int]:
    spare = length - size
    if spare <= 0:
        return [0]
    steps = math.ceil(spare / max(size * (1 - overlap), 1))
    return [round(step * spare / steps) for step in range(steps + 1)]


def place(detections: Detections, tile: Tile, size: tuple[int, int], margin: float) -> Detections:
    """Detections of a tile in pixels of its image, without those that touch a border between tiles.

    Args:
        detections: in pixels of the tile.
        tile: where it is.
        size: (height, width) of the image.
        margin: pixels from a border at which a box touches it.
    """
    shift = detections.boxes.new_tensor([tile.left, tile.top, tile.left, tile.top])
    height, width = size
    left, top, right, bottom = (detections.boxes + shift).unbind(dim=1)
    is_whole = (
        ((left > tile.left + margin) | (tile.left == 0))
        & ((top > tile.top + margin) | (tile.top == 0))
        & ((right < tile.right - margin) | (tile.right == width))
        & ((bottom < tile.bottom - margin) | (tile.bottom == height))
    )
    found = detections[is_whole]
    masks = found.masks
    if masks is not None:
        masks = RegionMasks(masks.probabilities, masks.boxes + shift, size)
    return Detections(found.boxes + shift, found.scores, found.labels, masks, found.mask_scores)
