"""The auxiliary heads together, for batches that example data does not have."""

from __future__ import annotations

import pytest
import torch

from codetr.models.losses.normalizer import Normalizer, RecordingNormalizer
from codetr.models.structures import Target
from tests.support.models.auxiliary_heads import (
    CANVAS,
    CHANNELS,
    CLASSES,
    Heads,
    check_trainable,
    feature_maps,
    image_batch,
    target,
)


@pytest.mark.parametrize(
    "targets",
    [
        [target(), target()],
        [target((10, 10, 50, 40)), target()],
        [target((3, 3, 4, 4)), target((0, 0, 90, 60))],
        [target(*[(i, i, i + 20, i + 20) for i in range(40)]), target((5, 5, 30, 30))],
    ],
    ids=["no objects", "one image without", "one pixel", "many"],
)
def test_any_number_of_objects_can_be_learnt(heads: Heads, targets: list[Target]) -> None:
    features = feature_maps(2)
    losses, queries = heads.losses(features, image_batch((64, 80), (50, 96)), targets, Normalizer())
    assert set(losses) == {
        "rpn.cls", "rpn.box", "roi.cls", "roi.giou", "atss.cls", "atss.giou", "atss.centerness"
    }  # fmt: skip
    parameters = [p for head in (heads.rpn, heads.roi, heads.atss) for p in head.parameters()]
    check_trainable(losses, parameters)
    for made in queries:
        assert made.boxes_cxcywh.shape[:2] == made.labels.shape == made.label_weights.shape
        assert made.boxes_cxcywh.shape[1] >= 9
        assert made.features.shape == (*made.labels.shape, CHANNELS)
        assert torch.equal(made.box_weights > 0, made.labels < CLASSES)
        assert ((made.boxes_cxcywh >= 0) | (made.labels == CLASSES)[..., None]).all()
    if not any(len(objects) for objects in targets):
        assert losses["rpn.box"] == losses["roi.giou"] == losses["atss.giou"] == 0


def test_divisors_are_requested_whatever_the_objects(heads: Heads) -> None:
    """Under accumulation divisors are replayed in order: one that is left out would shift all others."""
    counts = []
    for targets in ([target(), target()], [target((10, 10, 50, 40)), target((0, 0, 90, 60))]):
        recording = RecordingNormalizer()
        heads.losses(feature_maps(2), image_batch(CANVAS, CANVAS), targets, recording)
        counts.append(len(recording.counts))
    assert counts[0] == counts[1]


def test_detections_lie_in_the_original_image_and_are_sorted(heads: Heads) -> None:
    features, batch = feature_maps(2), image_batch((64, 80), (50, 96))
    proposals = heads.rpn.propose(features, batch)
    for detections in (heads.roi.detect(features, proposals, batch), heads.atss.detect(features, batch)):
        for found, (height, width) in zip(detections, batch.original_sizes, strict=True):
            assert 0 < len(found) <= 100
            assert (found.boxes >= 0).all()
            assert (found.boxes[:, [0, 2]] <= width).all()
            assert (found.boxes[:, [1, 3]] <= height).all()
            assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
            assert not found.scores.requires_grad
