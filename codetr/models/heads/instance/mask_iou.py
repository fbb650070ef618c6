"""How well a mask will fit its object (Huang et al., "Mask Scoring R-CNN", CVPR 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codetr.models.config import InstanceHeadConfig
from codetr.models.layers.conv import ConvLayerNorm
from codetr.models.losses.normalizer import Normalizer
from codetr.models.losses.reduction import weighted_mean


class MaskIoUHead(nn.Module):
    """Predicts the overlap of a region's mask with its object's, whole: also what lies outside the region counts.

    Args:
        config: see `InstanceHeadConfig`.
        num_classes: classes without background.
        channels: of the features.
    """

    def __init__(self, config: InstanceHeadConfig, num_classes: int, channels: int) -> None:
        super().__init__()
        convs = [ConvLayerNorm(channels + 1, channels), ConvLayerNorm(channels, channels, stride=2)]
        self.convs = nn.ModuleList(convs)
        side = (config.pool_size + 1) // 2
        self.fc = nn.Linear(channels * side**2, config.iou_fc_channels)
        self.predictor = nn.Linear(config.iou_fc_channels, num_classes)
        for conv in convs:
            nn.init.kaiming_normal_(conv.conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.kaiming_uniform_(self.fc.weight, a=1)
        nn.init.normal_(self.predictor.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)
        nn.init.zeros_(self.predictor.bias)

    def forward(self, pooled: Tensor, logits: Tensor) -> Tensor:
        """(regions, classes) overlaps in [0, 1], float32.

        Args:
            pooled: (regions, channels, pool_size, pool_size) features.
            logits: (regions, 2 * pool_size, 2 * pool_size) of the mask.
        """
        x = torch.cat((pooled, F.max_pool2d(logits.sigmoid()[:, None], 2)), dim=1)
        for conv in self.convs:
            x = F.relu(conv(x))
        return self.predictor(F.relu(self.fc(x.flatten(1)))).float().sigmoid()


def mask_overlaps(logits: Tensor, targets: Tensor, shares: Tensor) -> Tensor:
    """(regions,) overlap of each mask with the whole object; 0 where there is nothing to overlap.

    Args:
        logits: (regions, side, side) of the masks.
        targets: (regions, side, side) bool, the object within the region.
        shares: (regions,) which share of the object lies within the region.
    """
    masks = logits >= 0
    areas = masks.sum(dim=(1, 2)).float()
    common = (masks & targets).sum(dim=(1, 2)).float()
    whole = targets.sum(dim=(1, 2)) / (shares + 1e-7)
    return common / (areas + whole - common).clamp(min=1e-7)


def overlap_loss(predictions: Tensor, overlaps: Tensor, normalizer: Normalizer) -> Tensor:
    """Mean squared error of predicted overlaps, over the masks that overlap their object at all.

    Args:
        predictions: (regions,) in [0, 1].
        overlaps: (regions,) in [0, 1].
        normalizer: asked for the number of masks that overlap their object.
    """
    some = overlaps > 0
    divisor = normalizer(some.sum(), predictions.device)
    return weighted_mean((predictions - overlaps).square(), some, divisor)
