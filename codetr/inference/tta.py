"""Test-time augmentation: an image seen at several sizes and mirrored, and what was found brought together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codetr.core.errors import UserError
from codetr.data.config import PreprocessConfig
from codetr.inference.box_fusion import fuse
from codetr.inference.config import TTAConfig
from codetr.inference.predictor import Predictor
from codetr.models.masks import RegionMasks
from codetr.models.structures import Detections

_IOU_THRESHOLD = 0.6
_SOFT_THRESHOLD = 0.7
_CANVAS_DIVISOR = 32
"""Canvases of any scale are multiples of this, as the published ones are."""


class TestTimeAugmentation(Predictor):
    """A model that looks at every image several times. It has the interface of a model.

    Each scale, and with `flip` its mirror image, costs a pass of the network.

    Args:
        model: what to show the views to.
        scales: sizes of the network's input, as factors of the model's own.
        flip: whether every scale is also seen mirrored left to right.
    """

    __test__ = False  # pytest would take it for a test

    def __init__(
        self,
        model: Predictor,
        *,
        scales: Sequence[float] = TTAConfig().scales,
        flip: bool = TTAConfig().flip,
    ) -> None:
        if not scales or min(scales) <= 0:
            raise UserError(f"{list(scales)} are not positive factors", where="scales")
        self.model, self.info, self.scales, self.flip = model, model.info, tuple(scales), flip

    def detect(
        self, images: Sequence[NDArray[np.uint8]], preprocess: PreprocessConfig | None = None
    ) -> list[Detections]:
        """See `Predictor.detect`."""
        views = []
        for scale in self.scales:
            sized = scaled(preprocess or self.info.preprocess, scale)
            views.append(self.model.detect(images, sized))
            if self.flip:
                mirrored = self.model.detect([np.ascontiguousarray(image[:, ::-1]) for image in images], sized)
                views.append([mirror(found, image.shape[1]) for found, image in zip(mirrored, images, strict=True)])
        return [fuse(of_image, _IOU_THRESHOLD, _SOFT_THRESHOLD) for of_image in zip(*views, strict=True)]


def scaled(preprocess: PreprocessConfig, scale: float) -> PreprocessConfig:
    """The same preparation to `scale` times the size."""
    sizes = {name: max(1, round(getattr(preprocess, name) * scale)) for name in ("short_side", "long_side")}
    if preprocess.canvas is not None and scale != 1:
        sizes["canvas"] = max(1, round(preprocess.canvas * scale / _CANVAS_DIVISOR)) * _CANVAS_DIVISOR
    return preprocess.model_copy(update=sizes)


def mirror(detections: Detections, width: int) -> Detections:
    """Detections of an image mirrored left to right, as they are in the image itself, which is so many pixels wide."""
    boxes = _mirrored(detections.boxes, width)
    masks = detections.masks
    if masks is not None:
        masks = RegionMasks(masks.probabilities.flip(-1), _mirrored(masks.boxes, width), masks.size)
    return Detections(boxes, detections.scores, detections.labels, masks, detections.mask_scores)


def _mirrored(boxes: Tensor, width: int) -> Tensor:
    left, top, right, bottom = boxes.unbind(dim=1)
    return torch.stack((width - right, top, width - left, bottom), dim=1)
