"""Detections from the predictions of the last decoder layer."""

from __future__ import annotations

import torch
from torch import Tensor

from codetr.models.boxes import cxcywh_to_xyxy
from codetr.models.structures import Detections, ImageBatch
from codetr.models.transformer.prediction_heads import QueryPredictions


def topk_detections(predictions: QueryPredictions, k: int, batch: ImageBatch) -> list[Detections]:
    """Return the `k` (query, class) pairs with the highest scores of every image, in pixels of the original image.

    A query may appear with several classes. Boxes are clipped to the image, scores descend.

    Args:
        predictions: only the last layer is used.
        k: most pairs per image.
        batch: the images.
    """
    device = predictions.boxes_cxcywh.device
    factors = torch.tensor([(x, y, x, y) for x, y in batch.scale_factors], dtype=torch.float32, device=device)
    pairs = topk_pairs(predictions, k, batch.box_scales, factors)
    return [Detections(boxes, scores, labels) for boxes, scores, labels in zip(*pairs, strict=True)]


def topk_pairs(
    predictions: QueryPredictions, k: int, box_scales: Tensor, scale_factors: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the `k` (query, class) pairs with the highest scores as tensors over the batch.

    Args:
        predictions: only the last layer is used.
        k: most pairs per image.
        box_scales: (batch, 4) width, height, width and height of every valid area, in pixels of the input.
        scale_factors: (batch, 4) factors from original pixels to pixels of the input, for x, y, x and y.

    Returns:
        Boxes (batch, pairs, 4) xyxy in original pixels, scores (batch, pairs), labels (batch, pairs) int64.
    """
    logits, boxes_cxcywh = predictions.logits[-1], predictions.boxes_cxcywh[-1]
    classes = logits.shape[-1]
    scores, indices = logits.sigmoid().flatten(1).topk(min(k, logits.shape[1] * classes))
    selected = boxes_cxcywh.gather(1, (indices // classes)[..., None].expand(-1, -1, 4))
    pixels = cxcywh_to_xyxy(selected) * box_scales[:, None]
    return pixels.clamp(min=0).minimum(box_scales[:, None]) / scale_factors[:, None], scores, indices % classes
