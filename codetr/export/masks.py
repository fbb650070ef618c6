"""Masks of the detections of a batch, as grids of probabilities over their boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from codetr.export.suppression import Found
from codetr.export.two_stage import number_batch
from codetr.models.detector import CoDETR
from codetr.ops.exporting import plain_layout

_CHUNK = 128
"""Detections of every image that masks are computed for at a time."""


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
    grids, overlaps = [], []
    boxes = found.boxes * factors[:, None]
    for part, classes in zip(boxes.split(_CHUNK, dim=1), found.labels.split(_CHUNK, dim=1), strict=True):
        regions, labels = number_batch(part), plain_layout(classes).flatten()
        if instance is not None:
            grid, overlap = instance.masks(maps, semantic, regions, labels)
            overlaps.append(overlap.unflatten(0, tuple(classes.shape)))
        else:
            assert roi is not None
            assert roi.mask is not None
            pooled = roi.pool(maps, regions, roi.mask.config.pool_size)
            grid = roi.mask(pooled, labels).sigmoid()
        grids.append(grid.unflatten(0, tuple(classes.shape)))
    outputs = {"masks": torch.where(found.there[..., None, None], torch.cat(grids, dim=1), 0.0)}
    if overlaps:
        outputs["mask_scores"] = torch.where(found.there, found.scores * torch.cat(overlaps, dim=1), 0.0)
    return outputs
