"""Published Co-DINO detectors with a vision transformer, ViT-L of EVA-02."""

from __future__ import annotations

from codetr.models.backbones.config import ViTConfig
from codetr.models.config import (
    ATSSHeadConfig,
    CoDINOHeadConfig,
    DenoisingConfig,
    DetectorConfig,
    InstanceHeadConfig,
    NMSConfig,
    ProposalConfig,
    RoIHeadConfig,
    RPNConfig,
    TransformerConfig,
)


def co_dino_vit_large_coco(num_classes: int) -> DetectorConfig:
    """Co-DINO with ViT-L as published for COCO: images of any size, 1500 queries."""
    roi = RoIHeadConfig(
        finest_scale=56,
        shared_convs=4,
        shared_fcs=1,
        class_agnostic=True,
        delta_stds=(0.05, 0.05, 0.1, 0.1),
        nms=NMSConfig(method="soft_nms", iou_threshold=0.5),
        max_detections=1000,
    )
    return _co_dino(num_classes, ViTConfig(), queries=1500, roi=roi)


def co_dino_vit_large_lvis(num_classes: int) -> DetectorConfig:
    """Co-DINO with ViT-L as published for LVIS: a canvas of 1536 pixels, smaller windows, 900 queries."""
    backbone = ViTConfig(window_size=16, global_blocks=(2, 5, 8, 11, 14, 17, 20, 23), canvas=1536, drop_path=0.3)
    roi = RoIHeadConfig(finest_scale=56, nms=NMSConfig(method="soft_nms", iou_threshold=0.5), max_detections=1000)
    return _co_dino(num_classes, backbone, queries=900, roi=roi)


def co_dino_vit_large_coco_instance(num_classes: int) -> DetectorConfig:
    """The detector for COCO with masks, as published."""
    return co_dino_vit_large_coco(num_classes).model_copy(update={"instance": InstanceHeadConfig()})


def co_dino_vit_large_lvis_instance(num_classes: int) -> DetectorConfig:
    """The detector for LVIS with masks, as published."""
    instance = InstanceHeadConfig(mask_weight=12.0)
    return co_dino_vit_large_lvis(num_classes).model_copy(update={"instance": instance})


def _co_dino(num_classes: int, backbone: ViTConfig, *, queries: int, roi: RoIHeadConfig) -> DetectorConfig:
    return DetectorConfig(
        num_classes=num_classes,
        backbone=backbone,
        padding_mask=backbone.canvas is None,
        query=CoDINOHeadConfig(
            queries=queries,
            transformer=TransformerConfig(checkpointed_encoder_layers=6),
            denoising=DenoisingConfig(queries=300, box_noise=0.4),
            max_detections=1000,
        ),
        rpn=RPNConfig(test_proposals=ProposalConfig(candidates=8000, proposals=2000, iou_threshold=0.9)),
        roi=roi,
        atss=ATSSHeadConfig(nms=NMSConfig(method="soft_nms", iou_threshold=0.6)),
    )
