"""Suppression in a fixed number of steps, compared with the one that detectors use."""

from __future__ import annotations

import pytest
import torch

from codetr.export.suppression import SUPPRESSED, PaddedDetections, suppress
from codetr.models.config import NMSConfig
from codetr.ops.nms import SuppressionMethod, batched_nms


@pytest.mark.parametrize("method", ["nms", "soft_nms"])
def test_it_keeps_what_the_detectors_keep(method: SuppressionMethod) -> None:
    """Images with many boxes, with fewer than the limit, with one, and with none; images do not affect each other."""
    generator = torch.Generator().manual_seed(0)
    count, limit = 60, 25
    corners = 40 * torch.rand(4, count, 2, generator=generator)
    boxes = torch.cat((corners, corners + 30 * torch.rand(4, count, 2, generator=generator)), dim=2)
    boxes[0, 3] = boxes[0, 4] = torch.tensor([5.0, 5.0, 5.0, 9.0])  # empty boxes, which overlap nothing
    scores = torch.rand(4, count, generator=generator)
    for image, candidates in enumerate((count, 7, 1, 0)):
        scores[image, candidates:] = SUPPRESSED
    labels = torch.randint(3, (4, count), generator=generator)
    nms = NMSConfig(method=method, iou_threshold=0.3, min_score=0.2)
    found = suppress(PaddedDetections(boxes, scores, labels), labels, nms, limit)
    assert found.boxes.shape == (4, limit, 4)
    for image in range(4):
        there = scores[image] > SUPPRESSED
        expected, kept = batched_nms(
            boxes[image, there],
            scores[image, there],
            labels[image, there],
            nms.iou_threshold,
            method=method,
            min_score=nms.min_score,
            limit=limit,
        )
        torch.testing.assert_close(found.scores[image, : len(kept)], expected)
        assert torch.equal(found.boxes[image, : len(kept)], boxes[image, there][kept])
        assert torch.equal(found.labels[image, : len(kept)], labels[image, there][kept])
        assert not found.present[image, len(kept) :].any()
