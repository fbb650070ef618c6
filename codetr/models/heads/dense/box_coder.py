"""Boxes written as differences to reference boxes (Girshick et al., "R-CNN", CVPR 2014, appendix C)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from codetr.models.boxes import clip_boxes, xyxy_to_cxcywh

_MAX_LOG_SCALE = abs(math.log(16 / 1000))
"""Sides are scaled by at most 1000 / 16, so that an untrained network cannot overflow exp()."""


@dataclass(frozen=True)
class BoxCoder:
    """Deltas (dx, dy, dw, dh): the centre's offset in sides of the reference, and the log ratio of the sides.

    Attributes:
        stds: scale of the four deltas; encoded deltas are divided by it.
    """

    stds: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    def encode(self, references: Tensor, boxes: Tensor) -> Tensor:
        """Deltas (..., 4) that lead from `references` to `boxes`, both (..., 4) xyxy with positive sides."""
        centers, sides = xyxy_to_cxcywh(references).split(2, dim=-1)
        box_centers, box_sides = xyxy_to_cxcywh(boxes).split(2, dim=-1)
        deltas = torch.cat(((box_centers - centers) / sides, (box_sides / sides).log()), dim=-1)
        return deltas / deltas.new_tensor(self.stds)

    def decode(self, references: Tensor, deltas: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Boxes (..., 4) xyxy that `deltas` (..., 4) lead to from `references` (..., 4) xyxy, which broadcast.

        Args:
            references: boxes the deltas are relative to, in pixels.
            deltas: encoded differences.
            size: (height, width) of the image in pixels to clip the boxes to, or None not to.
        """
        centers, sides = xyxy_to_cxcywh(references).split(2, dim=-1)
        offsets, log_scales = (deltas * deltas.new_tensor(self.stds)).split(2, dim=-1)
        centers = centers + sides * offsets
        half_sides = sides * log_scales.clamp(-_MAX_LOG_SCALE, _MAX_LOG_SCALE).exp() * 0.5
        boxes = torch.cat((centers - half_sides, centers + half_sides), dim=-1)
        return boxes if size is None else clip_boxes(boxes, size)
