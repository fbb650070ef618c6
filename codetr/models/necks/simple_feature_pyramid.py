"""The neck of plain vision transformers: a feature pyramid from one feature map.

Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", ECCV 2022, section 3, with nearest
upsampling instead of transposed convolutions and with a coarser fifth level.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from codetr.models.layers.conv import ChannelLayerNorm


class SimpleFeaturePyramid(nn.Module):
    """Five maps of strides 4 to 64 from one of stride 16, each by a separate branch.

    Branches and layers have the names and positions of the published checkpoints.

    Args:
        in_channels: channels of the map of stride 16; a multiple of 4.
        channels: channels of all output maps.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half, quarter = in_channels // 2, in_channels // 4
        self.p2 = nn.Sequential(
            nn.Upsample(scale_factor=2),
            *_conv(in_channels, half, 3),
            nn.GELU(),
            nn.Upsample(scale_factor=2),
            *_conv(half, quarter, 3),
            nn.GELU(),
            *_output(quarter, channels),
        )
        self.p3 = nn.Sequential(
            nn.Upsample(scale_factor=2), *_conv(in_channels, half, 3), nn.GELU(), *_output(half, channels)
        )
        self.p4 = nn.Sequential(*_output(in_channels, channels))
        self.p5 = nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1), *_output(in_channels, channels))
        self.p6 = nn.Sequential(
            nn.MaxPool2d(3, stride=2, padding=1),
            *_conv(in_channels, in_channels, 3, stride=2),
            nn.GELU(),
            *_output(in_channels, channels),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map a list of one feature map (batch, in_channels, height, width) to five of `channels`, fine to coarse.

        Their sides are 4, 2, 1, 1/2 and 1/4 times those of the input, rounded up.
        """
        (x,) = maps
        return [branch(x) for branch in (self.p2, self.p3, self.p4, self.p5, self.p6)]


def _conv(in_channels: int, channels: int, kernel_size: int, *, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(in_channels, channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    return conv, ChannelLayerNorm(channels)


def _output(in_channels: int, channels: int) -> tuple[nn.Module, ...]:
    """Return the last layers of every branch: a 1×1 convolution to the common width, then a 3×3 one."""
    return (*_conv(in_channels, channels, 1), nn.GELU(), *_conv(channels, channels, 3))
