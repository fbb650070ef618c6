"""The neck of convolutional and Swin backbones: maps all levels to one width and adds a coarser level."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from codetr.models.layers.conv import ConvNorm


class ChannelMapper(nn.Module):
    """A 1×1 convolution per feature map and a strided 3×3 one of the last map for the extra level, each normalised.

    Args:
        in_channels: channels of every feature map of the backbone, fine to coarse.
        channels: channels of all output maps.
        groups: groups of the normalisations.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, groups: int = 32) -> None:
        super().__init__()
        self.convs = nn.ModuleList(ConvNorm(width, channels, groups=groups, kernel_size=1) for width in in_channels)
        self.extra = ConvNorm(in_channels[-1], channels, groups=groups, kernel_size=3, stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map feature maps (batch, in_channels, height, width) to one more map of `channels`, fine to coarse."""
        mapped = [conv(x) for conv, x in zip(self.convs, maps, strict=True)]
        return [*mapped, self.extra(maps[-1])]
