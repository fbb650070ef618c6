"""Test-time augmentation: detect in an image at several scales and mirrored, and fuse the detections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from codetr.core.errors import UserError
from codetr.data.config import PreprocessConfig
from codetr.data.transforms.view import View
from codetr.inference.box_fusion import fuse
from codetr.inference.config import TTAConfig
from codetr.inference.predictor import Predictor
from codetr.models.masks import RegionMasks
from codetr.models.structures import Detections, ImageBatch

_IOU_THRESHOLD = 0.6
_SOFT_NMS_THRESHOLD = 0.7
_CANVAS_DIVISOR = 32
"""Side lengths of scaled canvases are multiples of this, as the published ones are."""


class TestTimeAugmentation(Predictor):
    """A model with test-time augmentation. It has the interface of a model.

    Each scale, and with `flip` its mirror image, costs a pass of the network.

    Args:
        model: the model, or another wrapper.
        scales: sizes of the network's input, as factors of the model's.
        flip: also detect in the mirror image of every scale.

    Raises:
        UserError: no scale, or one that is not positive.
    """

    __test__ = False  # The name makes pytest collect it as a test.

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

    def passes(self, views: Sequence[View]) -> Iterator[list[View]]:
        """Plan the passes of every scale, and of its mirror image."""
        for augmented, _ in self._augmentations(views):
            yield from self.model.passes(augmented)

    def run(self, batch: ImageBatch) -> list[Detections]:
        """Run the model, see `Predictor.run`."""
        return self.model.run(batch)

    def merge(self, outputs: Iterator[list[Detections]], views: Sequence[View]) -> list[Detections]:
        """Fuse the detections of every scale and mirror image, see `Predictor.merge`."""
        found = []
        for augmented, mirrored in self._augmentations(views):
            detections = self.model.merge(outputs, augmented)
            if mirrored:
                widths = [view.region.size[1] for view in augmented]
                detections = [mirror(one, width) for one, width in zip(detections, widths, strict=True)]
            found.append(detections)
        return [fuse(of_view, _IOU_THRESHOLD, _SOFT_NMS_THRESHOLD) for of_view in zip(*found, strict=True)]

    def _augmentations(self, views: Sequence[View]) -> Iterator[tuple[list[View], bool]]:
        """Yield the views at every scale, unchanged and mirrored, and whether they are mirrored."""
        for scale in self.scales:
            resized = [replace(view, preprocess=scaled(view.preprocess, scale)) for view in views]
            yield resized, False
            if self.flip:
                yield [view.mirror() for view in resized], True


def scaled(preprocess: PreprocessConfig, scale: float) -> PreprocessConfig:
    """Return `preprocess` with the sizes of the network's input multiplied by `scale`."""
    sizes = {name: max(1, round(getattr(preprocess, name) * scale)) for name in ("short_side", "long_side")}
    if preprocess.canvas is not None and scale != 1:
        sizes["canvas"] = max(1, round(preprocess.canvas * scale / _CANVAS_DIVISOR)) * _CANVAS_DIVISOR
    return preprocess.model_copy(update=sizes)


def mirror(detections: Detections, width: int) -> Detections:
    """Return the detections of a mirrored image in coordinates of the image itself, which is `width` pixels wide."""
    boxes = _mirrored(detections.boxes, width)
    masks = detections.masks
    if masks is not None:
        masks = RegionMasks(masks.probabilities.flip(-1), _mirrored(masks.boxes, width), masks.size)
    return Detections(boxes, detections.scores, detections.labels, masks, detections.mask_scores)


def _mirrored(boxes: Tensor, width: int) -> Tensor:
    left, top, right, bottom = boxes.unbind(dim=1)
    return torch.stack((width - right, top, width - left, bottom), dim=1)
