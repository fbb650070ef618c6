"""ResNet with bottleneck blocks (He et al., CVPR 2016), stride on the 3×3 convolution ("v1.5").

Parameters have torchvision's names, so its ImageNet weights can be loaded; unlike there, the width can be chosen.
"""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn
from torch.nn import functional as F

from codetr.models.backbones.config import NormKind, ResNetConfig
from codetr.models.layers.checkpointing import run_layer

_BLOCKS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks of the four stages by depth."""

_EXPANSION = 4
_GROUP_CHANNELS = 8
"""Channels per group of the group normalisations: small enough for the narrowest backbones."""


class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch normalisation that keeps the statistics and the scale it was loaded with."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever `mode` is."""
        del mode
        return super().train(False)


def _norm(kind: NormKind, channels: int) -> nn.Module:
    if kind == "frozen_batch":
        return FrozenBatchNorm(channels)
    return nn.GroupNorm(max(1, channels // _GROUP_CHANNELS), channels)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions with a residual connection."""

    def __init__(self, in_channels: int, width: int, stride: int, norm: NormKind) -> None:
        super().__init__()
        channels = width * _EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = _norm(norm, width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = _norm(norm, width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = _norm(norm, channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), _norm(norm, channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, height, width) to (batch, 4 * width, height / stride, width / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNetStage(nn.Sequential):
    """The blocks of a stage, one after another.

    Args:
        blocks: blocks of the stage.
        checkpointing: see `ResNetConfig`.
    """

    def __init__(self, *blocks: nn.Module, checkpointing: bool) -> None:
        super().__init__(*blocks)
        self.checkpointing = checkpointing

    def forward(self, x: Tensor) -> Tensor:
        """Pass a feature map (batch, channels, height, width) through all blocks."""
        for block in self:
            x = run_layer(block, x, checkpointing=self.checkpointing)
        return x


class ResNet(nn.Module):
    """A ResNet that returns the feature maps of its output stages.

    Args:
        config: depth, width, output stages, frozen stages, normalisation.
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        base_width, norm = config.base_width, config.norm
        self.depth, self.out_stages, self.out_channels = config.depth, config.out_stages, config.out_channels
        self.conv1 = nn.Conv2d(3, base_width, 7, stride=2, padding=3, bias=False)
        self.bn1 = _norm(norm, base_width)
        channels = base_width
        # Stages after the last output stage would have unused parameters.
        for stage, blocks in enumerate(_BLOCKS[config.depth][: config.out_stages[-1] + 1]):
            width = base_width * 2**stage
            layers = []
            for block in range(blocks):
                layers.append(Bottleneck(channels, width, 2 if stage and not block else 1, norm))
                channels = width * _EXPANSION
            self.add_module(f"layer{stage + 1}", ResNetStage(*layers, checkpointing=config.checkpointing))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck) and isinstance(module.bn3, nn.GroupNorm):
                nn.init.zeros_(module.bn3.weight)  # every block starts as the identity
        self._freeze(config.frozen_stages)

    def _freeze(self, stages: int) -> None:
        if stages < 0:
            return
        self.conv1.requires_grad_(False)
        self.bn1.requires_grad_(False)
        for stage in range(min(stages, self.out_stages[-1] + 1)):
            self.get_submodule(f"layer{stage + 1}").requires_grad_(False)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Map normalised images (batch, 3, height, width) to (batch, channels, height / stride, width / stride)."""
        x = F.relu(self.bn1(self.conv1(pixels)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        maps = []
        for stage in range(self.out_stages[-1] + 1):
            x = self.get_submodule(f"layer{stage + 1}")(x)
            if stage in self.out_stages:
                maps.append(x)
        return maps
