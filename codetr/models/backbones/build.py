"""Build the backbone that a configuration describes."""

from __future__ import annotations

from codetr.models.backbones.config import BackboneConfig, SwinConfig, TimmConfig, ViTConfig
from codetr.models.backbones.resnet import ResNet
from codetr.models.backbones.swin import Swin
from codetr.models.backbones.timm_backbone import TimmBackbone
from codetr.models.backbones.vit import ViT

Backbone = ResNet | Swin | ViT | TimmBackbone
"""Any backbone: maps images (batch, 3, height, width) to a list of feature maps of `out_channels`, fine to coarse."""


def build_backbone(config: BackboneConfig) -> Backbone:
    """Build a backbone with random weights, without gradients for its frozen stages."""
    if isinstance(config, SwinConfig):
        return Swin(config)
    if isinstance(config, ViTConfig):
        return ViT(config)
    if isinstance(config, TimmConfig):
        return TimmBackbone(config)
    return ResNet(config)
