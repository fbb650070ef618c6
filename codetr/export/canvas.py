"""The canvas sizes that an exported program accepts, and how it pads them."""

from __future__ import annotations

from typing import Self

from torch import Tensor
from torch.nn import functional as F

from codetr.core.settings import Settings
from codetr.models.backbones.config import ViTConfig
from codetr.models.backbones.windows import ceil_div
from codetr.models.config import DetectorConfig


class CanvasRule(Settings):
    """Valid sizes of the canvas of a batch, stored in the exported file.

    Attributes:
        multiple: the program pads canvases with zeros to multiples of this, in pixels, at the right and bottom.
        minimum: smallest height and width in pixels.
        fixed: the only valid height and width, for backbones that are built for one canvas; None for any.
    """

    multiple: int
    minimum: int
    fixed: int | None = None

    @classmethod
    def of(cls, config: DetectorConfig) -> Self:
        """Return the rule of a detector: no level is rounded, and all together have a cell for every query.

        With rounding, the sizes of levels would be symbolic expressions that take torch.export minutes, not seconds.
        """
        strides = config.dense_strides if config.detect_head == "roi" else config.strides
        multiple = max(strides)
        cells = sum((multiple // stride) ** 2 for stride in config.strides)
        side = 2  # torch.export would specialise the program for maps of a single cell
        while side**2 * cells < config.query.queries:
            side += 1
        fixed = config.backbone.canvas if isinstance(config.backbone, ViTConfig) else None
        return cls(multiple=multiple, minimum=fixed or (side - 1) * multiple + 1, fixed=fixed)

    def pad(self, images: Tensor) -> Tensor:
        """Pad images (batch, 3, height, width) to the canvas that the detector is run on."""
        if self.fixed is not None:
            return images
        height, width = images.shape[2], images.shape[3]
        rows, columns = ceil_div(height, self.multiple), ceil_div(width, self.multiple)
        return F.pad(images, (0, columns * self.multiple - width, 0, rows * self.multiple - height))
