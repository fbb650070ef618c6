"""The mask head of Mask R-CNN (He et al., ICCV 2017, section 3), a part of the RoI head."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from codetr.models.config import MaskHeadConfig
from codetr.models.heads.roi.mask_logits import ClassLogits


class FCNMaskHead(nn.Module):
    """A few convolutions over the features of a region, then a mask of twice their resolution for every class.

    Args:
        config: depth and resolution.
        num_classes: classes without background.
        channels: channels of the features and of every layer.
    """

    def __init__(self, config: MaskHeadConfig, num_classes: int, channels: int) -> None:
        super().__init__()
        self.config = config
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(config.convs))
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.logits = ClassLogits(channels, num_classes)
        for module in (*self.convs, self.upsample):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)

    @property
    def mask_size(self) -> int:
        """Cells per side of the masks."""
        return 2 * self.config.pool_size

    def forward(self, pooled: Tensor, labels: Tensor) -> Tensor:
        """Return the mask logits (regions, mask_size, mask_size) float32 of each region's class.

        Args:
            pooled: (regions, channels, pool_size, pool_size) features.
            labels: (regions,) int64, class of each region.
        """
        for conv in self.convs:
            pooled = F.relu(conv(pooled))
        logits: Tensor = self.logits(F.relu(self.upsample(pooled)), labels)
        return logits
