"""Non-maximum suppression of a batch in a fixed number of steps, for programs whose shapes are known in advance.

`codetr.ops.nms` drops boxes and so has results of any length, image by image. Here boxes that are gone keep their
places with a score of `GONE`, every step of a `scan` takes the best that is left of every image, and the result is as
long as there are steps. Both kinds of suppression do the same thing: take the best, then lower what overlaps it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch._higher_order_ops import scan

from codetr.models.boxes import box_area
from codetr.models.config import NMSConfig

GONE = -1.0
"""The score of what was taken, dropped, or never a candidate."""


@dataclass
class Found:
    """Detections of a batch, best first, as many for every image.

    Attributes:
        boxes: (batch, detections, 4) xyxy pixels.
        scores: (batch, detections), `GONE` for places that are not taken.
        labels: (batch, detections) int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    @property
    def there(self) -> Tensor:
        """(batch, detections), whether a place is taken."""
        return self.scores > GONE


def select(values: Tensor, index: Tensor) -> Tensor:
    """(batch, n, 4) to the (batch, m, 4) at `index` (batch, m)."""
    return values.gather(1, index[..., None].expand(-1, -1, 4))


def suppress(found: Found, groups: Tensor, nms: NMSConfig, limit: int) -> Found:
    """Suppress overlapping boxes of the same group within every image.

    The result is that of `codetr.ops.nms.batched_nms`, but that boxes of exactly equal score come in their order here.

    Args:
        found: (batch, n) boxes of any order.
        groups: (batch, n) int64, a class or level of every box.
        nms: method and thresholds.
        limit: boxes kept per image.

    Returns:
        (batch, limit) boxes, best first.
    """
    boxes, scores = found.boxes, found.scores
    farthest = torch.where(found.there[..., None], boxes, 0.0).amax(dim=(1, 2))
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
            lowered = torch.where(lowered < nms.min_score, GONE, lowered)
        else:
            lowered = torch.where(overlaps > nms.iou_threshold, GONE, remaining)
        return lowered.scatter(1, best, GONE), (remaining.gather(1, best), best)

    _, (kept_scores, kept) = scan(step, scores, torch.arange(limit, device=scores.device))
    kept_scores, kept = kept_scores.squeeze(2).transpose(0, 1), kept.squeeze(2).transpose(0, 1)
    return Found(select(boxes, kept), kept_scores, found.labels.gather(1, kept))
