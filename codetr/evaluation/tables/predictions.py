"""Detections of all images of a split as one table of arrays.

A list with a dictionary for each of six million detections takes more memory than everything that is computed from
it; here a detection is a row in a few arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from codetr.core.errors import UserError
from codetr.evaluation.tables.ground_truth import GroundTruth, boxes_table, positions
from codetr.inference.coco_results import coco_entries


@dataclass(frozen=True)
class PredictionTable:
    """Detections of all images; of equal scores the earlier one ranks higher.

    Attributes:
        image: (detections,) position of the image in the ground truth.
        label: (detections,) position of the class in the ground truth; -1 for a class it does not list.
        boxes_xywh: (detections, 4) x, y, width, height in pixels; None where there are masks alone.
        score: (detections,).
        mask_score: (detections,) by which masks are ranked; None for the score.
        segmentations: the mask of every detection as a compressed run-length code, None where there are boxes alone.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64] | None
    score: NDArray[np.float64]
    mask_score: NDArray[np.float64] | None = None
    segmentations: Sequence[Any] | None = None

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def of_coco(cls, results: Sequence[dict[str, Any]], truth: GroundTruth) -> Self:
        """Return the table of COCO results, `{image_id, category_id, bbox xywh, score, segmentation, mask_score}`.

        Raises:
            UserError: a detection is of an image that the ground truth does not list.
        """
        count = len(results)
        image_ids = np.fromiter((entry["image_id"] for entry in results), np.int64, count)
        image = positions(image_ids, truth.image_ids)
        if len(unknown := np.flatnonzero(image < 0)):
            where = f"predictions[{unknown[0]}].image_id"
            raise UserError(f"the ground truth has no image {image_ids[unknown[0]]}", where=where)
        has_boxes = not count or "bbox" in results[0]
        score = np.fromiter((entry["score"] for entry in results), np.float64, count)
        mask_score = None
        if any("mask_score" in entry for entry in results):
            mask_scores = (entry.get("mask_score", entry["score"]) for entry in results)
            mask_score = np.fromiter(mask_scores, np.float64, count)
        has_masks = bool(count) and all(entry.get("segmentation") for entry in results)
        return cls(
            image=image,
            label=positions(
                np.fromiter((entry["category_id"] for entry in results), np.int64, count), truth.category_ids
            ),
            boxes_xywh=boxes_table(results) if has_boxes else None,
            score=score,
            mask_score=mask_score,
            segmentations=[entry["segmentation"] for entry in results] if has_masks or not has_boxes else None,
        )

    def to_coco(self, truth: GroundTruth, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Return some detections as COCO results, see `of_coco`. The ground truth must list their classes.

        Args:
            truth: the ground truth that `image` and `label` are positions in.
            rows: indices of the detections, in this order.
        """
        return coco_entries(
            truth.image_ids[self.image[rows]],
            truth.category_ids[self.label[rows]],
            boxes_xywh=None if self.boxes_xywh is None else self.boxes_xywh[rows],
            scores=self.score[rows],
            masks=None if self.segmentations is None else [self.segmentations[row] for row in rows.tolist()],
            mask_scores=None if self.mask_score is None else self.mask_score[rows],
        )

    def boxes(self) -> NDArray[np.float64]:
        """Return the boxes, or those around the masks: (detections, 4) x, y, width, height in pixels."""
        if self.boxes_xywh is not None:
            return self.boxes_xywh
        return np.asarray(coco_mask.toBbox(list(self.segmentations or ())), np.float64).reshape(-1, 4)

    def area(self, iou_type: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the area that decides in which size range a detection counts: (rows,) square pixels.

        It is the area of the box if there is one, as in the reference programs, except for masks with a separate
        score: published mask metrics come from programs that remove the boxes first.
        """
        if self.boxes_xywh is not None and not (iou_type == "segm" and self.mask_score is not None):
            boxes_xywh = self.boxes_xywh[rows]
            return boxes_xywh[:, 2] * boxes_xywh[:, 3]
        segmentations = self.segmentations or ()
        # One by one: with NumPy 2, pycocotools 2.0.11 fails on the areas of more than 255 masks at once.
        return np.fromiter((coco_mask.area(segmentations[row]) for row in rows.tolist()), np.float64, len(rows))
