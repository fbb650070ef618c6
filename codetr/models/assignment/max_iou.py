"""Assignment by IoU, as in Faster R-CNN (Ren et al., NeurIPS 2015, section 3.1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codetr.models.boxes import iou_matrix

_CHUNK_CPU = 2**18
_CHUNK_GPU = 2**24
"""Overlaps that are held at a time: as many as fit into the processor's cache, or as keep a GPU busy. The overlaps of
800 000 anchors with 100 objects would need gigabytes for intermediate values."""


@dataclass(frozen=True)
class MaxIoUAssigner:
    """Assign a box to the object it overlaps most, if the IoU is large enough.

    Attributes:
        positive_iou: IoU from which a box is foreground.
        negative_iou: IoU below which a box is background; boxes between the two thresholds are ignored.
        min_positive_iou: with `low_quality`, the IoU from which an object's best boxes are foreground.
        low_quality: also assign every object to the boxes it overlaps most (all boxes that tie), even below
            `positive_iou` and even if they overlap another object more; the later of two such objects takes the box.
        chunk: overlaps that are held at a time; None chooses by device.
    """

    positive_iou: float
    negative_iou: float
    min_positive_iou: float = 0.0
    low_quality: bool = False
    chunk: int | None = None

    def __call__(self, boxes: Tensor, gt_boxes: Tensor) -> Tensor:
        """Assign boxes to objects.

        Args:
            boxes: (n, 4) xyxy pixels, anchors or proposals.
            gt_boxes: (objects, 4) xyxy pixels.

        Returns:
            (n,) int64, 1 + the index of the box's object, 0 for background, -1 if the box is ignored.
        """
        if not len(gt_boxes):
            return boxes.new_zeros(len(boxes), dtype=torch.int64)
        chunk = self.chunk or (_CHUNK_CPU if boxes.device.type == "cpu" else _CHUNK_GPU)
        chunks = boxes.split(max(1, chunk // len(gt_boxes)))
        assigned, best_of_chunks = [], []
        for part in chunks:
            overlaps = iou_matrix(gt_boxes, part)
            best, best_object = overlaps.max(dim=0)
            part_assigned = torch.where(best < self.negative_iou, 0, -1)
            assigned.append(torch.where(best >= self.positive_iou, best_object + 1, part_assigned))
            best_of_chunks.append(overlaps.amax(dim=1) if len(part) else overlaps.new_full((len(gt_boxes),), -1.0))
        if self.low_quality:
            self._assign_low_quality(assigned, chunks, torch.stack(best_of_chunks), gt_boxes)
        return torch.cat(assigned)

    def _assign_low_quality(
        self, assigned: list[Tensor], chunks: Sequence[Tensor], best: Tensor, gt_boxes: Tensor
    ) -> None:
        """Assign every object to its best boxes, in place, chunk by chunk.

        Args:
            assigned: (boxes,) int64 of every chunk; changed.
            chunks: boxes (boxes, 4) of every chunk.
            best: (chunks, objects) largest IoU of every object in every chunk.
            gt_boxes: (objects, 4).
        """
        overall = best.amax(dim=0)
        claims = (best == overall) & (overall >= self.min_positive_iou)
        # Most objects have their best boxes in one chunk: only these overlaps are computed again.
        for index, claiming in enumerate(claims.cpu()):
            objects = claiming.nonzero().squeeze(1).to(gt_boxes.device)
            if not len(objects):
                continue
            overlaps = iou_matrix(gt_boxes[objects], chunks[index])
            claimed = (overlaps == overall[objects, None]) * (objects[:, None] + 1)
            latest = claimed.amax(dim=0)
            assigned[index] = torch.where(latest > 0, latest, assigned[index])
