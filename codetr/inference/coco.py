"""Detections as COCO results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from codetr.data.segmentation import encode_mask
from codetr.errors import UserError
from codetr.models.structures import Detections


def coco_results(detections: Detections, image_id: int, category_ids: NDArray[np.int64]) -> list[dict[str, Any]]:
    """One image's detections as COCO results, masks as run-length codes in `segmentation` with a `mask_score`.

    Numbers are float32 and are written with the fewest digits that read back as the same float32, so nothing is
    rounded away and `0.9` does not become `0.8999999761581421`.

    Args:
        detections: boxes xyxy in pixels of the original image.
        image_id: id in the annotation file.
        category_ids: (classes,) id in the annotation file of every label.

    Raises:
        UserError: a box or score is not finite.
    """
    numbers = numbers_of(detections, f"image {image_id}")
    categories = category_ids[numbers.labels].tolist()
    results: list[dict[str, Any]] = [
        {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
        for category_id, box, score in zip(
            categories, numbers.boxes_xywh.tolist(), numbers.scores.tolist(), strict=True
        )
    ]
    if numbers.masks is not None and numbers.mask_scores is not None:
        for entry, mask, score in zip(results, numbers.masks, numbers.mask_scores.tolist(), strict=True):
            entry["segmentation"] = mask
            entry["mask_score"] = score
    return results


@dataclass(frozen=True)
class Numbers:
    """One image's detections as they are written.

    Attributes:
        labels: (detections,).
        boxes_xywh: (detections, 4) x, y, width, height in pixels of the original image.
        scores: (detections,).
        mask_scores: (detections,) what masks are ranked by, None without masks.
        masks: compressed run-length codes, None without masks.
    """

    labels: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    scores: NDArray[np.float64]
    mask_scores: NDArray[np.float64] | None = None
    masks: list[dict[str, Any]] | None = None


def numbers_of(detections: Detections, where: str) -> Numbers:
    """The numbers that `coco_results` writes; arguments and errors are its.

    Args:
        detections: boxes xyxy in pixels of the original image.
        where: whose they are, for the error.
    """
    require_finite(detections, where)
    boxes = detections.boxes.detach().float().cpu().numpy().copy()
    boxes[:, 2:] -= boxes[:, :2]
    scores = _shortest(detections.scores)
    labels = detections.labels.cpu().numpy().astype(np.int64)
    if detections.masks is None:
        return Numbers(labels, _shortest(boxes), scores)
    mask_scores = scores if detections.mask_scores is None else _shortest(detections.mask_scores)
    # One mask in pixels at a time.
    masks = [encode_mask(mask.cpu().numpy()) for mask in detections.masks]
    return Numbers(labels, _shortest(boxes), scores, mask_scores, masks)


def require_finite(detections: Detections, where: str) -> None:
    """Raise `UserError` if a box or score is NaN or infinite: what compares with no threshold would go unnoticed."""
    values = [detections.boxes, detections.scores]
    if detections.mask_scores is not None:
        values.append(detections.mask_scores)
    if not all(bool(value.isfinite().all()) for value in values):
        hint = "The weights are damaged, or training diverged."
        raise UserError("the detector gave boxes or scores that are not finite", where=where, hint=hint)


def _shortest(values: Tensor | NDArray[np.float32]) -> NDArray[np.float64]:
    """The floats with the fewest decimal digits that are the same float32."""
    if isinstance(values, Tensor):
        values = values.detach().float().cpu().numpy()
    return values.astype(str).astype(np.float64)
