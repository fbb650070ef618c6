"""The backbone and the neck that a configuration describes."""

from __future__ import annotations

from torch import nn

from codetr.models.backbones.config import BackboneConfig, ViTConfig
from codetr.models.backbones.resnet import ResNet
from codetr.models.backbones.vit import ViT
from codetr.models.feature_pyramid import SimpleFeaturePyramid
from codetr.models.neck import ChannelMapper

Backbone = ResNet | ViT
"""Any backbone: images (batch, 3, height, width) to a list of maps, fine to coarse."""


def build_backbone(config: BackboneConfig) -> Backbone:
    """A backbone with random weights."""
    if isinstance(config, ViTConfig):
        return ViT(config)
    return ResNet(config)


def build_neck(config: BackboneConfig, *, channels: int, groups: int) -> nn.Module:
    """The neck for a backbone: its maps to maps of `channels` at the strides `config.pyramid_strides`.

    Args:
        config: of the backbone.
        channels: of every map that is put out.
        groups: of the group normalisations, if the neck has them.
    """
    if isinstance(config, ViTConfig):
        return SimpleFeaturePyramid(config.channels, channels)
    return ChannelMapper(config.out_channels, channels, groups=groups)
