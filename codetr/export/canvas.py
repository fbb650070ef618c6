"""Which canvases an exported program takes, and what it makes of them."""

from __future__ import annotations

from typing import Self

from torch import Tensor
from torch.nn import functional as F

from codetr.core.settings import Settings
from codetr.models.backbones.config import ViTConfig
from codetr.models.backbones.windows import ceil_div
from codetr.models.config import DetectorConfig


class CanvasRule(Settings):
    """Sizes of the canvas that the images of a batch lie on. It travels with the exported file.

    Attributes:
        multiple: a program pads canvases with zeros to multiples of this, in pixels, at the right and bottom.
        minimum: height and width must be at least this.
        fixed: the only height and width there is, of backbones that were made for one canvas; None for any.
    """

    multiple: int
    minimum: int
    fixed: int | None = None

    @classmethod
    def of(cls, config: DetectorConfig) -> Self:
        """The rule of a detector: all levels have whole cells, and together enough to select the queries from.

        If levels were rounded up, their sizes would be formulas that take torch.export minutes instead of seconds.
        """
        strides = config.dense_strides if config.detect_head == "roi" else config.strides
        multiple = max(strides)
        cells = sum((multiple // stride) ** 2 for stride in config.strides)
        side = 2  # maps of a single cell would be a case of their own
        while side**2 * cells < config.query.queries:
            side += 1
        fixed = config.backbone.canvas if isinstance(config.backbone, ViTConfig) else None
        return cls(multiple=multiple, minimum=fixed or (side - 1) * multiple + 1, fixed=fixed)

    def pad(self, images: Tensor) -> Tensor:
        """(batch, 3, height, width) on the canvas that a detector sees."""
        if self.fixed is not None:
            return images
        height, width = images.shape[2], images.shape[3]
        rows, columns = ceil_div(height, self.multiple), ceil_div(width, self.multiple)
        return F.pad(images, (0, columns * self.multiple - width, 0, rows * self.multiple - height))
