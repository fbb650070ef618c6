"""Detect with the RoI head on the RPN's proposals, with tensors of static shapes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from codetr.export.suppression import SUPPRESSED, PaddedDetections, select, suppress
from codetr.models.config import NMSConfig
from codetr.models.detector import CoDETR
from codetr.models.heads.dense.box_coder import BoxCoder
from codetr.models.heads.dense.feature_maps import map_sizes
from codetr.models.heads.dense.rpn import RPNHead
from codetr.models.transformer.levels import EncoderOutput


def detect_regions(detector: CoDETR, encoded: EncoderOutput, frames: Tensor, factors: Tensor) -> PaddedDetections:
    """Compute the detections of the RoI head, as `detector.detect` does.

    Args:
        detector: with the RoI head.
        encoded: its encoder's output.
        frames: (batch, 4) width, height, width and height in pixels of the valid area of every image.
        factors: (batch, 4) scale factors from original pixels to these, for x, y, x and y.

    Returns:
        Boxes in pixels of the original images.
    """
    rpn, roi = detector.rpn_head, detector.roi_head
    assert rpn is not None
    assert roi is not None
    maps = detector.dense_maps(encoded)
    proposals = _propose(rpn, maps, frames)
    logits, deltas = roi(roi.pool(maps, number_batch(proposals.boxes)))
    batch, count = proposals.scores.shape
    deltas = deltas.unflatten(0, (batch, count))
    scores = logits.softmax(dim=-1)[:, :-1].unflatten(0, (batch, count))
    boxes = _decode(roi.coder, proposals.boxes[:, :, None], deltas, frames[:, None, None]) / factors[:, None, None]
    candidates = (scores > roi.config.score_threshold) & proposals.present[..., None]
    labels = torch.arange(roi.num_classes, device=scores.device).expand(batch, count, -1).flatten(1)
    pairs = PaddedDetections(
        boxes.expand(-1, -1, roi.num_classes, -1).flatten(1, 2),
        torch.where(candidates, scores, SUPPRESSED).flatten(1),
        labels,
    )
    return suppress(pairs, labels, roi.config.nms, roi.config.max_detections)


def number_batch(boxes: Tensor) -> Tensor:
    """Convert boxes (batch, n, 4) to regions (batch * n, 5): index of the image and xyxy pixels."""
    images = torch.arange(boxes.shape[0], dtype=boxes.dtype, device=boxes.device)
    return torch.cat((images[:, None, None].expand(-1, boxes.shape[1], -1), boxes), dim=-1).flatten(0, 1)


def _propose(head: RPNHead, maps: list[Tensor], frames: Tensor) -> PaddedDetections:
    """Return proposals in pixels of the canvas; their labels are levels."""
    config = head.config.test_proposals
    anchors = head.anchors.grid(map_sizes(maps), frames.device)
    levels = []
    for level, (logits, deltas) in enumerate(zip(*head(maps), strict=True)):
        # A level may have fewer anchors than are selected; it is filled up with padding.
        missing = (0, config.candidates)
        ranked, order = F.pad(logits.sigmoid(), missing, value=SUPPRESSED).topk(config.candidates, dim=1)
        boxes = _decode(
            head.coder,
            F.pad(anchors[level], (0, 0, *missing))[order],
            select(F.pad(deltas, (0, 0, *missing)), order),
            frames[:, None],
        )
        usable = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
        scores = torch.where(usable, ranked, SUPPRESSED)
        levels.append(PaddedDetections(boxes, scores, torch.full_like(order, level)))
    candidates = PaddedDetections(
        torch.cat([found.boxes for found in levels], dim=1),
        torch.cat([found.scores for found in levels], dim=1),
        torch.cat([found.labels for found in levels], dim=1),
    )
    return suppress(candidates, candidates.labels, NMSConfig(iou_threshold=config.iou_threshold), config.proposals)


def _decode(coder: BoxCoder, references: Tensor, deltas: Tensor, frames: Tensor) -> Tensor:
    """Return boxes in pixels, clipped to `frames`, which are broadcast to them."""
    return coder.decode(references, deltas).clamp(min=0.0).minimum(frames)
