"""Masks in four stages of increasing resolution (Zhang et al., "RefineMask", CVPR 2021, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codetr.models.config import InstanceHeadConfig
from codetr.models.heads.roi.mask_logits import ClassLogits
from codetr.models.heads.roi.pooling import pool_regions
from codetr.models.layers.conv import ConvLayerNorm
from codetr.models.losses.boundary import upsample

_STAGES = 3
_DILATIONS = (1, 3, 5)


class FusionStage(nn.Module):
    """Fuse the features of a region with semantic features of the image at the region (RefineMask, section 3.2).

    Args:
        channels: channels of the features, a multiple of 2; the output has half as many.
        scale: factor from the side of the input to that of the output.
    """

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.fuse = nn.Conv2d(2 * channels + 1, channels, 1)
        self.dilated = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation) for dilation in _DILATIONS
        )
        self.merge = nn.Conv2d(channels, channels, 1)
        # The predicted mask is the last channel.
        self.contract = nn.Conv2d(channels, channels // 2 - 1, 1)

    def forward(self, x: Tensor, semantic: Tensor, logits: Tensor) -> Tensor:
        """Return the features (regions, channels / 2, side * scale, side * scale) of the next stage.

        Args:
            x: (regions, channels, side, side) instance features.
            semantic: (regions, channels, side, side) semantic features.
            logits: (regions, side, side) logits of the masks predicted from `x`.
        """
        mask = logits.sigmoid()[:, None]
        fused = F.relu(self.fuse(torch.cat((x, semantic, mask), dim=1)))
        branches = [F.relu(conv(fused)) for conv in self.dilated]
        fused = F.relu(self.merge(torch.stack(branches).sum(dim=0) + fused.mean(dim=(2, 3), keepdim=True)))
        fused = torch.cat((F.relu(self.contract(fused)), mask), dim=1)
        if self.scale == 1:
            return fused
        return F.interpolate(fused, scale_factor=self.scale, mode="bilinear", align_corners=False)


class RefineMaskHead(nn.Module):
    """Masks of regions at `pool_size` cells per side and at two, four and eight times as many.

    Args:
        config: see `InstanceHeadConfig`.
        num_classes: classes without background.
        channels: channels of the feature maps, a multiple of 8.
        stride: stride of the finest map, in pixels.
    """

    def __init__(self, config: InstanceHeadConfig, num_classes: int, channels: int, stride: int) -> None:
        super().__init__()
        self.config, self.stride = config, stride
        self.instance_convs = nn.ModuleList(ConvLayerNorm(channels, channels) for _ in range(config.instance_convs))
        self.semantic_convs = nn.ModuleList(ConvLayerNorm(channels, channels) for _ in range(config.semantic_convs))
        widths = [channels // 2**stage for stage in range(_STAGES + 1)]
        # The last stage keeps its resolution; its masks are upsampled instead.
        scales = [2] * (_STAGES - 1) + [1]
        self.semantic = nn.ModuleList(nn.Conv2d(channels, width, 1) for width in widths[:-1])
        self.stages = nn.ModuleList(FusionStage(width, scale) for width, scale in zip(widths[:-1], scales, strict=True))
        # The finest masks are class-agnostic.
        classes = [num_classes] * _STAGES + [1]
        self.logits = nn.ModuleList(ClassLogits(width, out) for width, out in zip(widths, classes, strict=True))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def semantic_maps(self, finest: Tensor) -> list[Tensor]:
        """Return the semantic maps (batch, channels of the stage, height, width) that every stage pools from.

        Args:
            finest: the finest feature map (batch, channels, height, width).
        """
        for conv in self.semantic_convs:
            finest = F.relu(conv(finest))
        return [F.relu(layer(finest)) for layer in self.semantic]

    def forward(self, pooled: Tensor, semantic_maps: Sequence[Tensor], rois: Tensor, labels: Tensor) -> list[Tensor]:
        """Predict mask logits (regions, side, side) of each region's class, float32, coarse to fine.

        Args:
            pooled: (regions, channels, pool_size, pool_size) features.
            semantic_maps: result of the method `semantic_maps`.
            rois: (regions, 5) index of the image and xyxy pixels.
            labels: (regions,) int64, class of each region.
        """
        x = pooled
        for conv in self.instance_convs:
            x = F.relu(conv(x))
        masks = []
        for stage, layer, semantic in zip(self.stages, self.logits[:-1], semantic_maps, strict=True):
            masks.append(layer(x, labels))
            context = pool_regions(
                [semantic], [self.stride], rois, size=x.shape[-1], finest_scale=self.config.finest_scale
            )
            x = stage(x, context, masks[-1])
        last = self.logits[-1](x, labels)
        return [*masks, upsample(last, 2 * last.shape[-1])]
