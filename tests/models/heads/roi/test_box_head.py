"""The RoI head: images without proposals, and the variant of the largest published models."""

from __future__ import annotations

import torch

from codetr.models.config import NMSConfig, RoIHeadConfig
from codetr.models.heads.dense.rpn import RegionProposals
from codetr.models.heads.roi.box_head import RoIHead
from codetr.models.heads.roi.pooling import boxes_to_rois
from codetr.models.losses.normalizer import Normalizer
from tests.support.models.auxiliary_heads import (
    CANVAS,
    CHANNELS,
    CLASSES,
    STRIDES,
    Heads,
    check_trainable,
    feature_maps,
    image_batch,
    shuffle,
    target,
)


def test_roi_head_without_proposals(heads: Heads) -> None:
    """An image of which no proposal survives and that has no object leaves nothing to pool."""
    nothing = RegionProposals(torch.zeros(0, 4), torch.zeros(0))
    features, batch = feature_maps(1), image_batch(CANVAS)
    losses, queries = heads.roi.loss(features, [nothing], batch, [target()], Normalizer(), shuffle)
    check_trainable(losses, list(heads.roi.parameters()))
    assert queries.labels.tolist() == [[CLASSES] * 9]
    assert queries.label_weights.sum() == 0
    (found,) = heads.roi.detect(features, [nothing], batch)
    assert len(found) == 0


def test_a_class_agnostic_convolutional_roi_head() -> None:
    """The box head of the largest published models: one box for all classes, convolutions first, soft-NMS."""
    config = RoIHeadConfig(
        finest_scale=28,
        fc_channels=16,
        shared_convs=2,
        shared_fcs=1,
        class_agnostic=True,
        nms=NMSConfig(method="soft_nms", iou_threshold=0.5),
    )
    head = RoIHead(config, CLASSES, CHANNELS, STRIDES, groups=4)
    features, batch = feature_maps(1), image_batch(CANVAS)
    proposals = [RegionProposals(torch.tensor([[8.0, 8, 40, 40], [50, 20, 90, 60]]), torch.ones(2))]
    logits, deltas = head(head.pool(features, boxes_to_rois([proposals[0].boxes])))
    assert logits.shape == (2, CLASSES + 1)
    assert deltas.shape == (2, 1, 4)
    losses, _ = head.loss(features, proposals, batch, [target((10, 10, 42, 38))], Normalizer(), shuffle)
    check_trainable(losses, list(head.parameters()))
    assert len(head.detect(features, proposals, batch)[0]) == 2 * CLASSES
