"""From the last decoder layer's predictions to boxes in pixels."""

from __future__ import annotations

from codetr.models.boxes import clip_boxes, cxcywh_to_xyxy
from codetr.models.heads.dense import to_original
from codetr.models.structures import Detections, ImageBatch
from codetr.models.transformer.predictors import Predictions


def best_pairs(predictions: Predictions, limit: int, batch: ImageBatch) -> list[Detections]:
    """The best (query, class) pairs of every image: a query may appear with several classes.

    Args:
        predictions: of which the last layer counts.
        limit: pairs kept per image.
        batch: the images.

    Returns:
        For every image boxes in pixels of the original image, clipped to it, best first.
    """
    detections = []
    for image, (logits, boxes) in enumerate(zip(predictions.logits[-1], predictions.boxes[-1], strict=True)):
        scores, indices = logits.sigmoid().flatten().topk(min(limit, logits.numel()))
        chosen = boxes[indices.div(logits.shape[-1], rounding_mode="floor")]
        height, width = batch.image_sizes[image]
        pixels = cxcywh_to_xyxy(chosen) * chosen.new_tensor([width, height, width, height])
        original = to_original(clip_boxes(pixels, (height, width)), batch, image)
        detections.append(Detections(original, scores, indices % logits.shape[-1]))
    return detections
