"""Masks of the detections of a batch, as grids of probabilities over their boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch._higher_order_ops import scan

from codetr.export.suppression import Found
from codetr.export.two_stage import number_batch
from codetr.models.detector import CoDETR
from codetr.ops.exporting import contiguous_for_export

_CHUNK = 128
"""Detections of every image that masks are computed for at a time, at most."""


def masks_of(detector: CoDETR, maps: Sequence[Tensor], found: Found, factors: Tensor) -> dict[str, Tensor]:
    """Masks of detections by the head that gives the detector's.

    Args:
        detector: with masks.
        maps: (batch, channels, height, width) of the encoder, fine to coarse.
        found: detections, in pixels of the original images.
        factors: (batch, 4) from original pixels to those of the canvas, for x, y, x and y.

    Returns:
        `masks` (batch, detections, side, side) in [0, 1], and with an `InstanceHead` `mask_scores` (batch, detections).
    """
    config, roi = detector.config, detector.roi_head
    instance = detector.instance_head if config.detect_head == "query" else None
    semantic = [] if instance is None else instance.mask.semantic_maps(maps[0])

    # A scan, because the operations of every part would be in the file one after the other otherwise.
    def step(carry: Tensor, part: tuple[Tensor, Tensor]) -> tuple[Tensor, list[Tensor]]:
        boxes, classes = part
        regions, labels = number_batch(boxes), contiguous_for_export(classes).flatten()
        if instance is not None:
            outputs = list(instance.masks(maps, semantic, regions, labels))
        else:
            assert roi is not None
            assert roi.mask is not None
            outputs = [roi.mask(roi.pool(maps, regions, roi.mask.config.pool_size), labels).sigmoid()]
        return carry.clone(), [value.unflatten(0, tuple(classes.shape)) for value in outputs]

    boxes = _in_parts(found.boxes * factors[:, None])
    _, (grids, *overlaps) = scan(step, boxes.new_zeros(()), (boxes, _in_parts(found.labels)))
    count = found.labels.shape[1]
    outputs = {"masks": torch.where(found.there[..., None, None], _together(grids, count), 0.0)}
    if overlaps:
        outputs["mask_scores"] = torch.where(found.there, found.scores * _together(overlaps[0], count), 0.0)
    return outputs


def _in_parts(values: Tensor) -> Tensor:
    """(batch, detections, ...) to (parts, batch, at most _CHUNK, ...), filled up with zeros to equal parts."""
    count = values.shape[1]
    parts = -(-count // _CHUNK)
    size = -(-count // parts)
    missing = torch.zeros_like(values[:, :1]).repeat_interleave(parts * size - count, dim=1)
    return torch.cat((values, missing), dim=1).unflatten(1, (parts, size)).movedim(1, 0)


def _together(parts: Tensor, count: int) -> Tensor:
    """(parts, batch, size, ...) to (batch, count, ...)."""
    return contiguous_for_export(parts.movedim(0, 1)).flatten(1, 2)[:, :count]
