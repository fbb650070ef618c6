"""Non-maximum suppression of a batch in a fixed number of steps, for programs with static shapes.

`codetr.ops.nms` drops boxes, so its results have any length. Here suppressed boxes stay in the tensors with the score
`SUPPRESSED`. Every step of a `scan` selects the best remaining box of every image, and the result has one box per step.
NMS and soft-NMS work in the same way: select the best box, then lower the scores of those that overlap it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch._higher_order_ops import scan

from codetr.models.boxes import box_area
from codetr.models.config import NMSConfig

SUPPRESSED = -1.0
"""The score of boxes that were selected, dropped, or never a candidate, and of padding."""


@dataclass
class PaddedDetections:
    """Detections of a batch, best first, padded to the same number for every image.

    Attributes:
        boxes: (batch, detections, 4) xyxy pixels.
        scores: (batch, detections), `SUPPRESSED` for padding.
        labels: (batch, detections) int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    @property
    def present(self) -> Tensor:
        """(batch, detections) bool, False for padding."""
        return self.scores > SUPPRESSED


def select(values: Tensor, index: Tensor) -> Tensor:
    """Gather boxes (batch, m, 4) from (batch, n, 4) by `index` (batch, m)."""
    return values.gather(1, index[..., None].expand(-1, -1, 4))


def suppress(found: PaddedDetections, groups: Tensor, nms: NMSConfig, limit: int) -> PaddedDetections:
    """Suppress overlapping boxes of the same group within every image.

    The result equals that of `codetr.ops.nms.batched_nms`, except that boxes of equal score keep their order here.

    Args:
        found: (batch, n) boxes in any order.
        groups: (batch, n) int64, the class or level of every box.
        nms: method and thresholds.
        limit: boxes kept per image.

    Returns:
        (batch, limit) boxes, best first.
    """
    boxes, scores = found.boxes, found.scores
    farthest = torch.where(found.present[..., None], boxes, 0.0).amax(dim=(1, 2))
    apart = boxes + (groups.to(boxes.dtype) * (farthest + 1)[:, None])[..., None]
    areas = box_area(apart)

    def step(remaining: Tensor, _: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        best = remaining.argmax(dim=1, keepdim=True)
        chosen = select(apart, best)
        corner, far_corner = chosen[..., :2].maximum(apart[..., :2]), chosen[..., 2:].minimum(apart[..., 2:])
        width, height = (far_corner - corner).clamp(min=0.0).unbind(-1)
        intersection = width * height
        overlaps = intersection / (areas.gather(1, best) + areas - intersection)  # 0 / 0 of empty boxes is no overlap
        if nms.method == "soft_nms":
            lowered = torch.where(overlaps >= nms.iou_threshold, remaining * (1 - overlaps), remaining)
            lowered = torch.where(lowered < nms.min_score, SUPPRESSED, lowered)
        else:
            lowered = torch.where(overlaps > nms.iou_threshold, SUPPRESSED, remaining)
        return lowered.scatter(1, best, SUPPRESSED), (remaining.gather(1, best), best)

    _, (kept_scores, kept) = scan(step, scores, torch.arange(limit, device=scores.device))
    kept_scores, kept = kept_scores.squeeze(2).transpose(0, 1), kept.squeeze(2).transpose(0, 1)
    return PaddedDetections(select(boxes, kept), kept_scores, found.labels.gather(1, kept))
