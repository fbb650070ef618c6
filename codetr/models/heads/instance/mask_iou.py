"""Prediction of the IoU of a mask with that of its object (Huang et al., "Mask Scoring R-CNN", CVPR 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codetr.models.config import InstanceHeadConfig
from codetr.models.layers.conv import ConvLayerNorm
from codetr.models.losses.normalizer import Normalizer
from codetr.models.losses.reduction import weighted_mean


class MaskIoUHead(nn.Module):
    """Predict the IoU of a region's mask with the whole mask of its object, also outside the region.

    Args:
        config: see `InstanceHeadConfig`.
        num_classes: classes without background.
        channels: channels of the features.
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
        """Predict the mask IoU (regions, classes) in [0, 1], float32.

        Args:
            pooled: (regions, channels, pool_size, pool_size) features.
            logits: (regions, 2 * pool_size, 2 * pool_size) logits of the mask.
        """
        x = torch.cat((pooled, F.max_pool2d(logits.sigmoid()[:, None], 2)), dim=1)
        for conv in self.convs:
            x = F.relu(conv(x))
        ious: Tensor = self.predictor(F.relu(self.fc(x.flatten(1)))).float().sigmoid()
        return ious


def mask_ious(logits: Tensor, targets: Tensor, fractions: Tensor) -> Tensor:
    """Return the IoU (regions,) of each mask with the whole mask of its object; 0 if both are empty.

    Args:
        logits: (regions, side, side) logits of the masks.
        targets: (regions, side, side) bool, the object's mask within the region.
        fractions: (regions,) fraction of the object's mask within the region.
    """
    masks = logits >= 0
    areas = masks.sum(dim=(1, 2)).float()
    intersection = (masks & targets).sum(dim=(1, 2)).float()
    target_areas = targets.sum(dim=(1, 2)) / (fractions + 1e-7)
    return intersection / (areas + target_areas - intersection).clamp(min=1e-7)


def mask_iou_loss(predictions: Tensor, ious: Tensor, normalizer: Normalizer) -> Tensor:
    """Return the mean squared error of predicted IoUs, over the masks with a positive IoU.

    Args:
        predictions: (regions,) in [0, 1].
        ious: (regions,) in [0, 1], see `mask_ious`.
        normalizer: called with the number of masks with a positive IoU.
    """
    positive = ious > 0
    divisor = normalizer(positive.sum(), predictions.device)
    return weighted_mean((predictions - ious).square(), positive, divisor)
