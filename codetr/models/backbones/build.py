"""The backbone and the neck that a configuration describes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from codetr.models.backbones.config import BackboneConfig, SwinConfig, TimmConfig, ViTConfig
from codetr.models.backbones.resnet import ResNet
from codetr.models.backbones.swin import Swin
from codetr.models.backbones.timm_backbone import TimmBackbone
from codetr.models.backbones.vit import ViT
from codetr.models.necks.channel_mapper import ChannelMapper
from codetr.models.necks.simple_feature_pyramid import SimpleFeaturePyramid

Backbone = ResNet | Swin | ViT | TimmBackbone
"""Any backbone: images (batch, 3, height, width) to a list of maps, fine to coarse, of `out_channels`."""


def build_backbone(config: BackboneConfig) -> Backbone:
    """A backbone with random weights."""
    if isinstance(config, SwinConfig):
        return Swin(config)
    if isinstance(config, ViTConfig):
        return ViT(config)
    if isinstance(config, TimmConfig):
        return TimmBackbone(config)
    return ResNet(config)


def build_neck(config: BackboneConfig, in_channels: Sequence[int], *, channels: int, groups: int) -> nn.Module:
    """The neck for a backbone: its maps to maps of `channels` at the strides `config.pyramid_strides`.

    Args:
        config: of the backbone.
        in_channels: of every map the backbone puts out.
        channels: of every map that is put out.
        groups: of the group normalisations, if the neck has them.
    """
    if isinstance(config, ViTConfig) or (isinstance(config, TimmConfig) and config.plain):
        return SimpleFeaturePyramid(in_channels[0], channels)
    return ChannelMapper(in_channels, channels, groups=groups)
