"""Configurations of the published detectors, as differences from the defaults of `DetectorConfig`."""

from __future__ import annotations

from codetr.models.backbones.config import BackboneConfig, ResNetConfig, SwinConfig, TimmConfig, ViTConfig
from codetr.models.config import (
    ATSSHeadConfig,
    CoDeformableHeadConfig,
    CoDINOHeadConfig,
    DenoisingConfig,
    DetectorConfig,
    InstanceHeadConfig,
    MaskHeadConfig,
    NMSConfig,
    ProposalConfig,
    RoIHeadConfig,
    RPNConfig,
)
from codetr.models.transformer.config import TransformerConfig

_AFTER_OBJECTS365 = (("query.denoising.queries", 500), ("query.denoising.box_noise", 0.4))
"""Denoising settings for training from a detector pretrained on Objects365."""


def swin_tiny(*, drop_path: float) -> SwinConfig:
    """Return the configuration of Swin-T."""
    return SwinConfig(drop_path=drop_path)


def swin_small(*, drop_path: float) -> SwinConfig:
    """Return the configuration of Swin-S: Swin-T with a deeper third stage."""
    return SwinConfig(depths=(2, 2, 18, 2), drop_path=drop_path)


def swin_base(*, drop_path: float) -> SwinConfig:
    """Return the configuration of Swin-B, with the larger windows of its ImageNet-22k weights."""
    return SwinConfig(
        width=128, depths=(2, 2, 18, 2), attention_heads=(4, 8, 16, 32), window_size=12, drop_path=drop_path
    )


def swin_large(*, drop_path: float) -> SwinConfig:
    """Return the configuration of Swin-L, with the larger windows of its ImageNet-22k weights."""
    return SwinConfig(
        width=192, depths=(2, 2, 18, 2), attention_heads=(6, 12, 24, 48), window_size=12, drop_path=drop_path
    )


def co_deformable_detr(
    num_classes: int, backbone: ResNetConfig | SwinConfig, *, queries: int = 300, max_detections: int = 100
) -> DetectorConfig:
    """Return the configuration of Co-Deformable-DETR: four encoder levels, strides 8 to 64."""
    return DetectorConfig(
        num_classes=num_classes,
        backbone=backbone.model_copy(update={"out_stages": (1, 2, 3)}),
        query=CoDeformableHeadConfig(queries=queries, max_detections=max_detections),
    )


def co_dino_5scale(
    num_classes: int,
    backbone: ResNetConfig | SwinConfig,
    *,
    encoder_layers: int = 6,
    checkpointed_encoder_layers: int,
    lsj: bool = False,
) -> DetectorConfig:
    """Return the configuration of Co-DINO: five encoder levels, strides 4 to 64.

    Args:
        num_classes: see `DetectorConfig`.
        backbone: configuration whose `out_stages` are replaced by all four stages.
        encoder_layers: see `TransformerConfig`.
        checkpointed_encoder_layers: see `TransformerConfig`.
        lsj: whether images are placed on one fixed canvas ("large-scale jitter"), which is valid as a whole.
    """
    transformer = TransformerConfig(
        encoder_layers=encoder_layers, checkpointed_encoder_layers=checkpointed_encoder_layers
    )
    return DetectorConfig(
        num_classes=num_classes,
        backbone=backbone.model_copy(update={"out_stages": (0, 1, 2, 3)}),
        padding_mask=not lsj,
        query=CoDINOHeadConfig(transformer=transformer),
        roi=RoIHeadConfig(finest_scale=56),
    )


def co_deformable_detr_r50(num_classes: int) -> DetectorConfig:
    """Return the configuration of Co-Deformable-DETR with ResNet-50."""
    return co_deformable_detr(num_classes, ResNetConfig())


def co_deformable_detr_mask_r50(num_classes: int) -> DetectorConfig:
    """Return the configuration of Co-Deformable-DETR with ResNet-50 and masks; the RoI head provides the detections."""
    config = co_deformable_detr_r50(num_classes)
    roi = RoIHeadConfig(mask=MaskHeadConfig())
    return config.model_copy(update={"roi": roi, "detect_head": "roi"})


def co_deformable_detr_swin_large_900q(num_classes: int) -> DetectorConfig:
    """Return the configuration of Co-Deformable-DETR with Swin-L and more queries."""
    return co_deformable_detr(num_classes, swin_large(drop_path=0.6), queries=900, max_detections=300)


def co_dino_5scale_r50(num_classes: int, *, lsj: bool = False) -> DetectorConfig:
    """Return the configuration of Co-DINO with ResNet-50."""
    return co_dino_5scale(num_classes, ResNetConfig(), checkpointed_encoder_layers=4, lsj=lsj)


def co_dino_5scale_9encoder_lsj_r50(num_classes: int) -> DetectorConfig:
    """Return the configuration of Co-DINO with ResNet-50 and nine encoder layers."""
    return co_dino_5scale(num_classes, ResNetConfig(), encoder_layers=9, checkpointed_encoder_layers=9, lsj=True)


def co_dino_5scale_swin_large(num_classes: int, *, drop_path: float, lsj: bool = False) -> DetectorConfig:
    """Return the configuration of Co-DINO with Swin-L."""
    return co_dino_5scale(num_classes, swin_large(drop_path=drop_path), checkpointed_encoder_layers=6, lsj=lsj)


def co_dino_5scale_swin_large_o365tococo(num_classes: int) -> DetectorConfig:
    """Return the configuration of Co-DINO with Swin-L for COCO after pretraining on Objects365."""
    config = co_dino_5scale_swin_large(num_classes, drop_path=0.3)
    return config.changed([*_AFTER_OBJECTS365, ("backbone.checkpointing", True)])


def co_dino_5scale_lsj_swin_large_o365tolvis(num_classes: int) -> DetectorConfig:
    """Return the configuration of Co-DINO with Swin-L for LVIS after pretraining on Objects365: more detections."""
    config = co_dino_5scale_swin_large(num_classes, drop_path=0.3, lsj=True)
    detections = [(f"{head}.max_detections", 1000) for head in ("query", "roi", "atss")]
    return config.changed([*_AFTER_OBJECTS365, *detections])


def co_dino_vit_large_coco(num_classes: int) -> DetectorConfig:
    """Return the configuration of Co-DINO with ViT-L for COCO: images of any size, 1500 queries."""
    roi = RoIHeadConfig(
        finest_scale=56,
        shared_convs=4,
        shared_fcs=1,
        class_agnostic=True,
        delta_stds=(0.05, 0.05, 0.1, 0.1),
        nms=NMSConfig(method="soft_nms", iou_threshold=0.5),
        max_detections=1000,
    )
    return _co_dino_vit(num_classes, ViTConfig(), queries=1500, roi=roi)


def co_dino_vit_large_lvis(num_classes: int) -> DetectorConfig:
    """Return the configuration of Co-DINO with ViT-L for LVIS: canvas of 1536 pixels, smaller windows, 900 queries."""
    backbone = ViTConfig(window_size=16, global_blocks=(2, 5, 8, 11, 14, 17, 20, 23), canvas=1536, drop_path=0.3)
    roi = RoIHeadConfig(finest_scale=56, nms=NMSConfig(method="soft_nms", iou_threshold=0.5), max_detections=1000)
    return _co_dino_vit(num_classes, backbone, queries=900, roi=roi)


def co_dino_vit_large_coco_instance(num_classes: int) -> DetectorConfig:
    """Return the configuration of the published detector with masks for COCO."""
    return co_dino_vit_large_coco(num_classes).model_copy(update={"instance": InstanceHeadConfig()})


def co_dino_vit_large_lvis_instance(num_classes: int) -> DetectorConfig:
    """Return the configuration of the published detector with masks for LVIS."""
    instance = InstanceHeadConfig(mask_weight=12.0)
    return co_dino_vit_large_lvis(num_classes).model_copy(update={"instance": instance})


def _co_dino_vit(num_classes: int, backbone: ViTConfig, *, queries: int, roi: RoIHeadConfig) -> DetectorConfig:
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


def backbone_name(backbone: BackboneConfig) -> str:
    """Return the common name of a backbone, e.g. "Swin-L"; the family and width of an unusual one.

    Models of timm have timm's names.
    """
    if isinstance(backbone, ResNetConfig):
        return f"ResNet-{backbone.depth}"
    if isinstance(backbone, ViTConfig):
        return "ViT-L" if (backbone.channels, backbone.depth) == (1024, 24) else f"ViT, {backbone.channels} channels"
    if isinstance(backbone, TimmConfig):
        return backbone.name
    for size, build in (("T", swin_tiny), ("S", swin_small), ("B", swin_base), ("L", swin_large)):
        preset = build(drop_path=0)
        if (preset.width, preset.depths) == (backbone.width, backbone.depths):
            return f"Swin-{size}"
    return f"Swin, {backbone.width} channels"
