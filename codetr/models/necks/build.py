"""Build the neck that goes with a backbone."""

from __future__ import annotations

from collections.abc import Sequence

from codetr.models.backbones.config import BackboneConfig, TimmConfig, ViTConfig
from codetr.models.necks.channel_mapper import ChannelMapper
from codetr.models.necks.simple_feature_pyramid import SimpleFeaturePyramid

Neck = ChannelMapper | SimpleFeaturePyramid
"""Any neck: a list of feature maps of the backbone to a list of maps of one width, fine to coarse."""


def build_neck(config: BackboneConfig, in_channels: Sequence[int], *, channels: int, groups: int) -> Neck:
    """Build the neck whose output has `channels` channels at the strides `config.pyramid_strides`.

    Args:
        config: configuration of the backbone.
        in_channels: channels of every feature map of the backbone.
        channels: channels of every output map.
        groups: groups of the group normalisations; not used by a feature pyramid, which normalises by layers.
    """
    if isinstance(config, ViTConfig) or (isinstance(config, TimmConfig) and config.plain):
        return SimpleFeaturePyramid(in_channels[0], channels)
    return ChannelMapper(in_channels, channels, groups=groups)
