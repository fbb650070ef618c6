"""Tiled inference: detect in overlapping tiles of a large image at full resolution, and in the whole image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from codetr.data.transforms.view import Region, View
from codetr.inference.box_fusion import suppress
from codetr.inference.config import TilesConfig
from codetr.inference.predictor import Predictor, batched
from codetr.models.masks import RegionMasks
from codetr.models.structures import Detections, ImageBatch

_IOU_THRESHOLD = 0.5
_MARGIN = 0.01
"""Distance from a border, in sides of a tile, below which a box counts as cut: boxes of cut objects end near it."""


class TiledInference(Predictor):
    """A model with tiled inference. It has the interface of a model.

    Detections that touch a border of a tile within the image are dropped: the object is cut there, and it is whole in
    the next tile or, if it is larger than the overlap of the tiles, in the whole image. An image that fits into one
    tile has no tiles.

    Args:
        model: the model, or another wrapper.
        tile: side of the square tiles, in pixels of the image. Tiles are resized as images are, so tiles larger than
            the network's input gain nothing.
        overlap: smallest overlap of neighbouring tiles, as a fraction of their side.
        batch_size: tiles in a batch.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, model: Predictor, *, tile: int, overlap: float = 0.25, batch_size: int = 1) -> None:
        config = TilesConfig.parse({"size": tile, "overlap": overlap, "batch_size": batch_size}, where="tiles")
        self.model, self.info, self.config = model, model.info, config

    def passes(self, views: Sequence[View]) -> Iterator[list[View]]:
        """Plan the passes of the whole views, then those of the tiles of every view."""
        yield from self.model.passes(views)
        for view in views:
            for tiles in self._batches(view):
                yield from self.model.passes([view.crop(tile) for tile in tiles])

    def run(self, batch: ImageBatch) -> list[Detections]:
        """Run the model, see `Predictor.run`."""
        return self.model.run(batch)

    def merge(self, outputs: Iterator[list[Detections]], views: Sequence[View]) -> list[Detections]:
        """Suppress duplicates between a view and its tiles, see `Predictor.merge`."""
        wholes = self.model.merge(outputs, views)
        return [
            suppress([whole, *self._merge_tiles(outputs, view)], _IOU_THRESHOLD)
            for view, whole in zip(views, wholes, strict=True)
        ]

    def _merge_tiles(self, outputs: Iterator[list[Detections]], view: View) -> Iterator[Detections]:
        """Yield the detections of every tile in pixels of the view, without those cut by a border of the tile."""
        for tiles in self._batches(view):
            found = self.model.merge(outputs, [view.crop(tile) for tile in tiles])
            for tile, detections in zip(tiles, found, strict=True):
                yield uncut(detections, tile, view.region.size, self.config.size * _MARGIN)

    def _batches(self, view: View) -> Iterator[list[Region]]:
        tiles = tile_regions(*view.region.size, self.config.size, self.config.overlap)
        return batched(tiles, self.config.batch_size)


def tile_regions(height: int, width: int, size: int, overlap: float) -> list[Region]:
    """Return tiles that cover an image evenly; none if the image fits into one tile.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        size: side of a tile in pixels.
        overlap: smallest overlap of neighbouring tiles, as a fraction of the side.
    """
    if height <= size and width <= size:
        return []
    rows, columns = (_starts(length, size, overlap) for length in (height, width))
    return [Region(left, top, min(left + size, width), min(top + size, height)) for top in rows for left in columns]


def _starts(length: int, size: int, overlap: float) -> list[int]:
    spare = length - size
    if spare <= 0:
        return [0]
    steps = math.ceil(spare / max(size * (1 - overlap), 1))
    return [round(step * spare / steps) for step in range(steps + 1)]


def uncut(detections: Detections, tile: Region, size: tuple[int, int], margin: float) -> Detections:
    """Return the detections of a tile in pixels of its image, without those that touch a border between tiles.

    Args:
        detections: in pixels of the tile.
        tile: its region in the image.
        size: (height, width) of the image.
        margin: distance from a border, in pixels, below which a box touches it.
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
