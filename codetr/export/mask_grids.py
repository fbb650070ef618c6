"""Compute the masks of a batch's detections, as grids of probabilities over their boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch._higher_order_ops import scan

from codetr.export.suppression import PaddedDetections
from codetr.export.two_stage import number_batch
from codetr.models.detector import CoDETR
from codetr.ops.exporting import contiguous_for_export

_CHUNK = 128
"""Largest number of detections per image in one step of the mask head."""


def masks_of(detector: CoDETR, maps: Sequence[Tensor], found: PaddedDetections, factors: Tensor) -> dict[str, Tensor]:
    """Compute masks with the head that the detector uses for them.

    Args:
        detector: with masks.
        maps: (batch, channels, height, width) of the encoder, fine to coarse.
        found: detections in pixels of the original images.
        factors: (batch, 4) scale factors from original pixels to those of the canvas, for x, y, x and y.

    Returns:
        `masks` (batch, detections, side, side) in [0, 1], and with an `InstanceHead` `mask_scores` (batch, detections).
    """
    config, roi = detector.config, detector.roi_head
    instance = detector.instance_head if config.detect_head == "query" else None
    semantic = [] if instance is None else instance.mask.semantic_maps(maps[0])

    # Without a scan the file would contain the operations once per chunk.
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

    boxes = _split_in_chunks(found.boxes * factors[:, None])
    _, (grids, *overlaps) = scan(step, boxes.new_zeros(()), (boxes, _split_in_chunks(found.labels)))
    count = found.labels.shape[1]
    outputs = {"masks": torch.where(found.present[..., None, None], _join_chunks(grids, count), 0.0)}
    if overlaps:
        outputs["mask_scores"] = torch.where(found.present, found.scores * _join_chunks(overlaps[0], count), 0.0)
    return outputs


def _split_in_chunks(values: Tensor) -> Tensor:
    """Split (batch, detections, ...) into (chunks, batch, at most _CHUNK, ...), padded with zeros to equal chunks."""
    count = values.shape[1]
    parts = -(-count // _CHUNK)
    size = -(-count // parts)
    missing = torch.zeros_like(values[:, :1]).repeat_interleave(parts * size - count, dim=1)
    return torch.cat((values, missing), dim=1).unflatten(1, (parts, size)).movedim(1, 0)


def _join_chunks(parts: Tensor, count: int) -> Tensor:
    """Join (chunks, batch, size, ...) to (batch, count, ...), without the padding."""
    return contiguous_for_export(parts.movedim(0, 1)).flatten(1, 2)[:, :count]
