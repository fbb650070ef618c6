"""Inputs and outputs of a detector: a padded image batch, its targets, its detections."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from codetr.models.masks import RegionMasks


@dataclass
class ImageBatch:
    """Normalised images, padded at the right and bottom to one canvas. Sizes are (height, width) in pixels.

    Attributes:
        pixels: (batch, 3, canvas_height, canvas_width) float32.
        image_sizes: size of the valid area of every image in the canvas (the resized image, without padding).
        padded_sizes: size every single image was padded to before batching; anchors outside it are not used in
            training. Equal to `image_sizes` unless the transform pads to a divisor or a fixed canvas.
        original_sizes: size of every image file, to which detections are scaled back.
        image_ids: id of every image in its dataset, for logs and error messages.
    """

    pixels: Tensor
    image_sizes: list[tuple[int, int]]
    padded_sizes: list[tuple[int, int]]
    original_sizes: list[tuple[int, int]]
    image_ids: list[int] = field(default_factory=list)
    scale_factors: list[tuple[float, float]] = field(default_factory=list)
    """(x, y) factors from original pixels to pixels of the network's input; computed from the sizes if empty."""

    def __post_init__(self) -> None:
        if not self.scale_factors:
            self.scale_factors = [
                (width / original_width, height / original_height)
                for (height, width), (original_height, original_width) in zip(
                    self.image_sizes, self.original_sizes, strict=True
                )
            ]

    def __len__(self) -> int:
        return len(self.image_sizes)

    @property
    def canvas_size(self) -> tuple[int, int]:
        """(height, width) of the padded canvas."""
        return self.pixels.shape[-2], self.pixels.shape[-1]

    @property
    def box_scales(self) -> Tensor:
        """(batch, 4) float32 width, height, width and height of every valid area in pixels, on the device of `pixels`.

        Normalised boxes, multiplied by these, are boxes in pixels of the network's input.
        """
        scales = [(width, height, width, height) for height, width in self.image_sizes]
        return torch.tensor(scales, dtype=torch.float32, device=self.pixels.device)

    def to_original_pixels(self, boxes_xyxy: Tensor, image: int) -> Tensor:
        """Scale boxes (..., 4) of image `image` from pixels of the network's input to pixels of the original image."""
        x, y = self.scale_factors[image]
        return boxes_xyxy / boxes_xyxy.new_tensor((x, y, x, y))

    def to_input_pixels(self, boxes_xyxy: Tensor, image: int) -> Tensor:
        """Scale boxes (..., 4) of image `image` from pixels of the original image to pixels of the network's input."""
        x, y = self.scale_factors[image]
        return boxes_xyxy * boxes_xyxy.new_tensor((x, y, x, y))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> ImageBatch:
        """Return the batch with its pixels on `device`."""
        return ImageBatch(
            self.pixels.to(device, non_blocking=non_blocking),
            self.image_sizes,
            self.padded_sizes,
            self.original_sizes,
            self.image_ids,
            self.scale_factors,
        )


@dataclass
class Target:
    """Ground truth of one image, in pixels of the network's input.

    Attributes:
        boxes: (objects, 4) float32 xyxy pixels.
        labels: (objects,) int64 in [0, num_classes).
        masks: (objects, height, width) bool over the image's padded size, None for boxes only.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Target:
        """Return the target with its tensors on `device`."""
        masks = None if self.masks is None else self.masks.to(device, non_blocking=non_blocking)
        return Target(
            self.boxes.to(device, non_blocking=non_blocking),
            self.labels.to(device, non_blocking=non_blocking),
            masks,
        )


@dataclass
class Detections:
    """Detections of one image, scores descending.

    Attributes:
        boxes: (detections, 4) float32 xyxy, in pixels of the original image.
        scores: (detections,) float32 in [0, 1].
        labels: (detections,) int64 in [0, num_classes).
        masks: masks of all detections, None from a head without masks; `masks.pasted()` is (detections, height, width)
            bool over the original image.
        mask_scores: (detections,) float32 in [0, 1], the score times the predicted mask IoU; None from a head without
            this prediction. Average precision of masks ranks by these, that of boxes by `scores`.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: RegionMasks | None = None
    mask_scores: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor) -> Detections:
        """Select some of the detections."""
        return Detections(
            self.boxes[index],
            self.scores[index],
            self.labels[index],
            None if self.masks is None else self.masks[index],
            None if self.mask_scores is None else self.mask_scores[index],
        )

    def to(self, device: torch.device | str) -> Detections:
        """Return the detections with their tensors on `device`."""
        return Detections(
            self.boxes.to(device),
            self.scores.to(device),
            self.labels.to(device),
            None if self.masks is None else self.masks.to(device),
            None if self.mask_scores is None else self.mask_scores.to(device),
        )
