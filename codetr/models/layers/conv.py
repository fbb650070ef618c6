"""Convolutions followed by a normalisation: building blocks of necks, dense heads and mask heads."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from codetr.ops.exporting import contiguous_for_export


class ConvNorm(nn.Module):
    """Convolution without bias, then group normalisation; no activation.

    Args:
        in_channels: channels of the input.
        channels: channels of the output, a multiple of `groups`.
        groups: groups of the normalisation.
        kernel_size: side of the kernel; the padding keeps the size at stride 1.
        stride: stride of the convolution.
    """

    def __init__(self, in_channels: int, channels: int, *, groups: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
        self.norm = nn.GroupNorm(groups, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, height, width) to (batch, channels, height / stride, width / stride)."""
        out: Tensor = self.norm(self.conv(x))
        return out


class ChannelLayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels of every cell."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (batch, channels, height, width)."""
        x = F.layer_norm(x.movedim(1, -1), self.normalized_shape, self.weight, self.bias, self.eps)
        return contiguous_for_export(x.movedim(-1, 1))


class ConvLayerNorm(nn.Module):
    """3×3 convolution without bias, then layer normalisation over channels; no activation.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        stride: stride of the convolution.
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.norm = ChannelLayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, height, width) to (batch, channels, height / stride, width / stride)."""
        out: Tensor = self.norm(self.conv(x))
        return out
