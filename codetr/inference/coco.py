"""Detections as COCO results."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    require_finite(detections, f"image {image_id}")
    boxes = detections.boxes.detach().float().cpu().numpy().copy()
    boxes[:, 2:] -= boxes[:, :2]
    categories = category_ids[detections.labels.cpu().numpy()].tolist()
    scores = detections.scores.detach().float().cpu().numpy()
    results: list[dict[str, Any]] = [
        {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
        for category_id, box, score in zip(categories, _shortest(boxes), _shortest(scores), strict=True)
    ]
    if detections.masks is not None:
        mask_scores = scores
        if detections.mask_scores is not None:
            mask_scores = detections.mask_scores.detach().float().cpu().numpy()
        # One mask in pixels at a time.
        for entry, mask, score in zip(results, detections.masks, _shortest(mask_scores), strict=True):
            entry["segmentation"] = encode_mask(mask.cpu().numpy())
            entry["mask_score"] = score
    return results


def require_finite(detections: Detections, where: str) -> None:
    """Raise `UserError` if a box or score is NaN or infinite: what compares with no threshold would go unnoticed."""
    values = [detections.boxes, detections.scores]
    if detections.mask_scores is not None:
        values.append(detections.mask_scores)
    if not all(bool(value.isfinite().all()) for value in values):
        hint = "The weights are damaged, or training diverged."
        raise UserError("the detector gave boxes or scores that are not finite", where=where, hint=hint)


def _shortest(values: NDArray[np.float32]) -> Any:
    """Nested lists of the floats with the fewest decimal digits that are the same float32."""
    return values.astype(str).astype(np.float64).tolist()
