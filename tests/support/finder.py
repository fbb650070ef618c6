"""A predictor that makes no mistakes: it finds rectangles by their colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from codetr.data.config import PreprocessConfig
from codetr.inference.predictor import Predictor
from codetr.models.masks import RegionMasks
from codetr.models.structures import Detections
from codetr.weights.model_folder import ModelInfo
from tests.support.small_models import NAMES
from tests.support.tiny_training import tiny_config

SIDE = 16


class Finder(Predictor):
    """Finds the rectangle of every colour (k, 0, 0) for k from 10 on, of class k % 3, as far as it is in the image.

    Scores fall with k. Masks fill the upper left triangle of the box. What it was shown is kept in `seen`.
    """

    def __init__(self) -> None:
        config = tiny_config()
        self.info = ModelInfo(recipe="finder", class_names=NAMES, model=config, preprocess=PreprocessConfig())
        self.seen: list[tuple[tuple[int, ...], PreprocessConfig | None]] = []

    def detect(
        self, images: Sequence[NDArray[np.uint8]], preprocess: PreprocessConfig | None = None
    ) -> list[Detections]:
        self.seen += [(image.shape, preprocess) for image in images]
        return [self._find(image) for image in images]

    def _find(self, image: NDArray[np.uint8]) -> Detections:
        colours = sorted({int(value) for value in np.unique(image[..., 0]) if value >= 10})
        boxes = []
        for colour in colours:
            rows, columns = np.nonzero(image[..., 0] == colour)
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        corners = torch.tensor(np.array(boxes, np.float32).reshape(-1, 4))
        scores = torch.tensor([0.9 - colour / 1000 for colour in colours])
        labels = torch.tensor([colour % 3 for colour in colours], dtype=torch.int64)
        triangle = torch.ones(SIDE, SIDE).tril().flip(-1)
        masks = RegionMasks(triangle.expand(len(colours), -1, -1).clone(), corners, image.shape[:2])
        return Detections(corners, scores, labels, masks, scores * 0.5)


def scene(height: int, width: int, *boxes: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """A black image with a rectangle, xyxy, in each of the colours 10, 11, ..."""
    image = np.zeros((height, width, 3), np.uint8)
    for colour, (left, top, right, bottom) in enumerate(boxes, start=10):
        image[top:bottom, left:right, 0] = colour
    return image
