"""Assignment by overlap, as in Faster R-CNN (Ren et al., NeurIPS 2015, section 3.1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codetr.models.boxes import iou_matrix

_CHUNK_CPU = 2**18
_CHUNK_GPU = 2**24
"""Overlaps held at a time: as many as the processor's cache holds, or as keep a GPU busy. All those of 800 000 anchors
and 100 objects would take gigabytes of intermediate values."""


@dataclass(frozen=True)
class MaxIoUAssigner:
    """A box is responsible for the object it overlaps most, if by enough.

    Attributes:
        positive_iou: overlap from which a box is foreground.
        negative_iou: overlap below which a box is background; between the two it takes part in nothing.
        min_positive_iou: with `low_quality`, an object's best boxes are foreground from this overlap.
        low_quality: let every object claim the boxes it overlaps most (all that tie), even below `positive_iou` and
            even when they overlap another one more; of two claims, that of the later object counts.
    """

    positive_iou: float
    negative_iou: float
    min_positive_iou: float = 0.0
    low_quality: bool = False

    def __call__(self, boxes: Tensor, objects: Tensor) -> Tensor:
        """(n,) int64: 1 + the index of the object, 0 for background, -1 for neither.

        Args:
            boxes: (n, 4) xyxy pixels, anchors or proposals.
            objects: (m, 4) xyxy pixels.
        """
        if not len(objects):
            return boxes.new_zeros(len(boxes), dtype=torch.int64)
        chunk = _CHUNK_CPU if boxes.device.type == "cpu" else _CHUNK_GPU
        chunks = boxes.split(max(1, chunk // len(objects)))
        assigned, best_of_chunks = [], []
        for part in chunks:
            overlaps = iou_matrix(objects, part)
            best, best_object = overlaps.max(dim=0)
            part_assigned = torch.where(best < self.negative_iou, 0, -1)
            assigned.append(torch.where(best >= self.positive_iou, best_object + 1, part_assigned))
            best_of_chunks.append(overlaps.amax(dim=1) if len(part) else overlaps.new_full((len(objects),), -1.0))
        if self.low_quality:
            self._assign_low_quality(assigned, chunks, torch.stack(best_of_chunks), objects)
        return torch.cat(assigned)

    def _assign_low_quality(
        self, assigned: list[Tensor], chunks: Sequence[Tensor], best: Tensor, objects: Tensor
    ) -> None:
        """Change `assigned`, chunk by chunk, where an object claims its best boxes.

        Args:
            assigned: (boxes,) of every chunk.
            chunks: the boxes (boxes, 4).
            best: (chunks, objects) largest overlap of every object in every chunk.
            objects: (objects, 4).
        """
        overall = best.amax(dim=0)
        claims = (best == overall) & (overall >= self.min_positive_iou)
        # Most objects have their best boxes in one chunk: only those overlaps are computed again.
        for index, claiming in enumerate(claims.cpu()):
            numbers = claiming.nonzero().squeeze(1).to(objects.device)
            if not len(numbers):
                continue
            overlaps = iou_matrix(objects[numbers], chunks[index])
            claimed = (overlaps == overall[numbers, None]) * (numbers[:, None] + 1)
            owner = claimed.amax(dim=0)
            assigned[index] = torch.where(owner > 0, owner, assigned[index])
