"""Detectors as small as they can be: what exporting costs grows with the number of operations."""

from __future__ import annotations

import torch

from codetr.models.backbones.config import ResNetConfig
from codetr.models.config import (
    CoDeformableHeadConfig,
    CoDINOHeadConfig,
    DetectorConfig,
    InstanceHeadConfig,
    MaskHeadConfig,
    NMSConfig,
    ProposalConfig,
    RoIHeadConfig,
    RPNConfig,
)
from codetr.models.detector import CoDETR, build_detector
from codetr.models.transformer.config import TransformerConfig

TRANSFORMER = TransformerConfig(
    encoder_layers=1, decoder_layers=1, attention_heads=2, sampling_points=2, feedforward_channels=16
)
BACKBONE = ResNetConfig(depth=26, base_width=4, out_stages=(3,))


def boxes_and_masks() -> DetectorConfig:
    """Co-DINO with its soft-NMS, which acts here, and masks in stages."""
    return DetectorConfig(
        num_classes=3,
        backbone=BACKBONE,
        channels=16,
        norm_groups=4,
        query=CoDINOHeadConfig(
            queries=20, transformer=TRANSFORMER, max_detections=10, nms=NMSConfig(method="soft_nms", iou_threshold=0.1)
        ),
        instance=InstanceHeadConfig(pool_size=4, iou_fc_channels=8),
    )


def two_stages() -> DetectorConfig:
    """The detections of the RoI head, with its masks."""
    return DetectorConfig(
        num_classes=3,
        backbone=BACKBONE,
        channels=16,
        norm_groups=4,
        query=CoDeformableHeadConfig(queries=12, transformer=TRANSFORMER),
        rpn=RPNConfig(test_proposals=ProposalConfig(candidates=40, proposals=20)),
        roi=RoIHeadConfig(
            finest_scale=16, fc_channels=16, max_detections=10, mask=MaskHeadConfig(convs=1, pool_size=4)
        ),
        detect_head="roi",
    )


def random_detector(config: DetectorConfig) -> CoDETR:
    """A detector of which no two outputs are alike: as initialised, boxes are their references and scores the same."""
    torch.manual_seed(0)
    detector = build_detector(config).eval()
    for name, parameter in detector.named_parameters():
        if parameter.ndim > 1 and not name.startswith("backbone"):
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return detector
