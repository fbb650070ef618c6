"""From the last decoder layer's predictions to boxes in pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from codetr.models.boxes import cxcywh_to_xyxy
from codetr.models.structures import Detections, ImageBatch
from codetr.models.transformer.prediction_heads import QueryPredictions


def topk_detections(predictions: QueryPredictions, limit: int, batch: ImageBatch) -> list[Detections]:
    """The best (query, class) pairs of every image: a query may appear with several classes.

    Args:
        predictions: of which the last layer counts.
        limit: pairs kept per image.
        batch: the images.

    Returns:
        For every image boxes in pixels of the original image, clipped to it, best first.
    """
    device = predictions.boxes.device
    frames = torch.tensor([(w, h, w, h) for h, w in batch.image_sizes], dtype=torch.float32, device=device)
    factors = torch.tensor([(x, y, x, y) for x, y in batch.scale_factors], dtype=torch.float32, device=device)
    pairs = topk_pairs(predictions, limit, frames, factors)
    return [Detections(boxes, scores, labels) for boxes, scores, labels in zip(*pairs, strict=True)]


def topk_pairs(
    predictions: QueryPredictions, limit: int, frames: Tensor, factors: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The same as tensors over the batch.

    Args:
        predictions: of which the last layer counts.
        limit: pairs kept per image.
        frames: (batch, 4) width, height, width and height in pixels of what counts as the image.
        factors: (batch, 4) from original pixels to these, for x, y, x and y.

    Returns:
        (batch, pairs, 4) boxes, (batch, pairs) scores and (batch, pairs) int64 labels.
    """
    logits, boxes = predictions.logits[-1], predictions.boxes[-1]
    classes = logits.shape[-1]
    scores, indices = logits.sigmoid().flatten(1).topk(min(limit, logits.shape[1] * classes))
    chosen = boxes.gather(1, (indices // classes)[..., None].expand(-1, -1, 4))
    pixels = cxcywh_to_xyxy(chosen) * frames[:, None]
    return pixels.clamp(min=0).minimum(frames[:, None]) / factors[:, None], scores, indices % classes
