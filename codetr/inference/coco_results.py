"""Convert detections to COCO results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError
from codetr.data.segmentation import encode_mask

if TYPE_CHECKING:
    from torch import Tensor

    from codetr.models.structures import Detections


def coco_results(detections: Detections, image_id: int, category_ids: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Convert the detections of one image to COCO results; masks become run-length codes `segmentation`.

    Numbers are float32 and are written with the fewest digits that read back as the same float32, so nothing is
    rounded and `0.9` does not become `0.8999999761581421`. Masks have a `mask_score` in addition.

    Args:
        detections: boxes xyxy in pixels of the original image.
        image_id: id in the annotation file.
        category_ids: (classes,) id in the annotation file of every label.

    Raises:
        UserError: a box or score is not finite.
    """
    exported = export_detections(detections, f"image {image_id}")
    return coco_entries(
        np.full(len(exported.labels), image_id),
        category_ids[exported.labels],
        boxes_xywh=exported.boxes_xywh,
        scores=exported.scores,
        masks=exported.masks,
        mask_scores=exported.mask_scores,
    )


def coco_entries(
    image_ids: NDArray[np.int64],
    category_ids: NDArray[np.int64],
    *,
    boxes_xywh: NDArray[np.float64] | None,
    scores: NDArray[np.float64],
    masks: Iterable[dict[str, Any]] | None,
    mask_scores: NDArray[np.float64] | None,
) -> list[dict[str, Any]]:
    """Build COCO results, one dictionary per detection, without the fields that are None.

    Args:
        image_ids: (detections,).
        category_ids: (detections,).
        boxes_xywh: (detections, 4) x, y, width, height in pixels.
        scores: (detections,).
        masks: run-length codes.
        mask_scores: (detections,) scores that rank masks.
    """
    columns: dict[str, Iterable[Any]] = {"image_id": image_ids.tolist(), "category_id": category_ids.tolist()}
    if boxes_xywh is not None:
        columns["bbox"] = boxes_xywh.tolist()
    columns["score"] = scores.tolist()
    if masks is not None:
        columns["segmentation"] = masks
    if mask_scores is not None:
        columns["mask_score"] = mask_scores.tolist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@dataclass(frozen=True)
class ExportedDetections:
    """The detections of one image as they are written to files.

    Attributes:
        labels: (detections,).
        boxes_xywh: (detections, 4) x, y, width, height in pixels of the original image.
        scores: (detections,).
        mask_scores: (detections,) scores that rank masks, None without masks.
        masks: compressed run-length codes, None without masks.
    """

    labels: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    scores: NDArray[np.float64]
    mask_scores: NDArray[np.float64] | None = None
    masks: list[dict[str, Any]] | None = None


def export_detections(detections: Detections, where: str) -> ExportedDetections:
    """Convert detections to the numbers that are written to files, see `coco_results`.

    Args:
        detections: boxes xyxy in pixels of the original image.
        where: names the image in errors.

    Raises:
        UserError: a box or score is not finite.
    """
    require_finite(detections, where)
    boxes = _floats(detections.boxes).copy()
    boxes[:, 2:] -= boxes[:, :2]
    scores = _shortest(_floats(detections.scores))
    labels = detections.labels.cpu().numpy().astype(np.int64)
    if detections.masks is None:
        return ExportedDetections(labels, _shortest(boxes), scores)
    mask_scores = scores if detections.mask_scores is None else _shortest(_floats(detections.mask_scores))
    # Only one mask at a time is in memory as pixels.
    masks = [encode_mask(mask.cpu().numpy()) for mask in detections.masks]
    return ExportedDetections(labels, _shortest(boxes), scores, mask_scores, masks)


def require_finite(detections: Detections, where: str) -> None:
    """Raise `UserError` if a box or score is NaN or infinite: NaN is below every threshold and would go unnoticed."""
    values = [detections.boxes, detections.scores]
    if detections.mask_scores is not None:
        values.append(detections.mask_scores)
    if not all(bool(value.isfinite().all()) for value in values):
        hint = "The weights are damaged, or training diverged."
        raise UserError("the detector returned boxes or scores that are not finite", where=where, hint=hint)


def _floats(values: Tensor) -> NDArray[np.float32]:
    return values.detach().float().cpu().numpy()


def _shortest(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the float64 values with the fewest decimal digits that round to the same float32."""
    return values.astype(str).astype(np.float64)
