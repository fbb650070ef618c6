"""A predictor that makes no mistakes: it finds rectangles by their colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from codetr.data.config import PreprocessConfig
from codetr.data.transforms.view import View
from codetr.inference.predictor import Predictor
from codetr.models.masks import RegionMasks
from codetr.models.structures import Detections, ImageBatch
from codetr.weights.model_folder import ModelInfo
from tests.support.models.small_models import NAMES
from tests.support.training.tiny_training import tiny_config

SIDE = 16
EDGE = 6
"""Red value that divides an object from its surroundings, about half of the darkest colour."""


class Finder(Predictor):
    """Finds the rectangle of every colour (k, 0, 0) for k from 10 on, of class k % 3, as far as it is in the image.

    Rectangles do not touch. Scores fall with k. Masks fill the upper left triangle of the box. The batches that the
    "network" was run on are kept in `seen`.
    """

    def __init__(self) -> None:
        config = tiny_config()
        self.info = ModelInfo(recipe="finder", class_names=NAMES, model=config, preprocess=PreprocessConfig())
        self.seen: list[ImageBatch] = []

    def passes(self, views: Sequence[View]) -> Iterator[list[View]]:
        yield list(views)

    def run(self, batch: ImageBatch) -> list[Detections]:
        self.seen.append(batch)
        mean, deviation = self.info.preprocess.mean[0], self.info.preprocess.std[0]
        images = zip(batch.pixels[:, 0] * deviation + mean, batch.image_sizes, batch.original_sizes, strict=True)
        return [self.find(red[: size[0], : size[1]].numpy(), original) for red, size, original in images]

    def merge(self, outputs: Iterator[list[Detections]], views: Sequence[View]) -> list[Detections]:
        return next(outputs)

    def find(self, red: NDArray[np.float32], size: tuple[int, int]) -> Detections:
        """Find rectangles in the red channel, resized from an image of `size` (height, width)."""
        scales = np.array([size[1] / red.shape[1], size[0] / red.shape[0]])
        components, _ = ndimage.label(red > EDGE)
        found = []
        for number, (rows, columns) in enumerate(ndimage.find_objects(components), start=1):
            colour = round(float(red[components == number].max()))
            # Resizing blurs the edges by less than half a pixel of the image.
            upper, lower = np.array([columns.start, rows.start]), np.array([columns.stop, rows.stop])
            found.append((colour, [*np.round(upper * scales), *np.round(lower * scales)]))
        found.sort()
        corners = torch.tensor(np.array([box for _, box in found], np.float32).reshape(-1, 4))
        scores = torch.tensor([0.9 - colour / 1000 for colour, _ in found])
        labels = torch.tensor([colour % 3 for colour, _ in found], dtype=torch.int64)
        triangle = torch.ones(SIDE, SIDE).tril().flip(-1)
        masks = RegionMasks(triangle.expand(len(found), -1, -1).clone(), corners, size)
        return Detections(corners, scores, labels, masks, scores * 0.5)


def scene(height: int, width: int, *boxes: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """A black image with a rectangle, xyxy, in each of the colours 10, 11, ..."""
    image = np.zeros((height, width, 3), np.uint8)
    for colour, (left, top, right, bottom) in enumerate(boxes, start=10):
        image[top:bottom, left:right, 0] = colour
    return image
