"""Encoding of boxes as deltas relative to reference boxes (Girshick et al., "R-CNN", CVPR 2014, appendix C)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from codetr.models.boxes import clip_boxes, xyxy_to_cxcywh

_MAX_LOG_SCALE = abs(math.log(16 / 1000))
"""Bound of the log ratio of the sides, which keeps exp() of an untrained network from overflowing."""


@dataclass(frozen=True)
class BoxCoder:
    """Deltas (dx, dy, dw, dh): the centre's offset in sides of the reference, and the log ratio of the sides.

    Attributes:
        stds: scale of the four deltas; encoded deltas are divided by it.
    """

    stds: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    def encode(self, references_xyxy: Tensor, boxes_xyxy: Tensor) -> Tensor:
        """Return the deltas (..., 4) from reference boxes (..., 4) to boxes (..., 4), both with positive sides."""
        centers, sides = xyxy_to_cxcywh(references_xyxy).split(2, dim=-1)
        box_centers, box_sides = xyxy_to_cxcywh(boxes_xyxy).split(2, dim=-1)
        deltas = torch.cat(((box_centers - centers) / sides, (box_sides / sides).log()), dim=-1)
        return deltas / deltas.new_tensor(self.stds)

    def decode(self, references_xyxy: Tensor, deltas: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Return the boxes (..., 4) xyxy that deltas encode.

        Args:
            references_xyxy: (..., 4) pixels; broadcast with the deltas.
            deltas: (..., 4).
            size: (height, width) in pixels of the image that boxes are clipped to; None does not clip them.
        """
        centers, sides = xyxy_to_cxcywh(references_xyxy).split(2, dim=-1)
        offsets, log_scales = (deltas * deltas.new_tensor(self.stds)).split(2, dim=-1)
        centers = centers + sides * offsets
        half_sides = sides * log_scales.clamp(-_MAX_LOG_SCALE, _MAX_LOG_SCALE).exp() * 0.5
        boxes_xyxy = torch.cat((centers - half_sides, centers + half_sides), dim=-1)
        return boxes_xyxy if size is None else clip_boxes(boxes_xyxy, size)
