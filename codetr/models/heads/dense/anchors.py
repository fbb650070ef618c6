"""Anchors: boxes of fixed shapes centred on the cells of every feature level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AnchorGenerator:
    """Anchors of one base size, several octave fractions and aspect ratios per level.

    Attributes:
        strides: pixels per cell of every level.
        ratios: heights over widths; the area is the same for all.
        octave_base_scale: side of the smallest square anchor, in strides.
        scales_per_octave: number of sizes, spread evenly in log scale over a factor of two.
    """

    strides: tuple[int, ...]
    ratios: tuple[float, ...] = (1.0,)
    octave_base_scale: float = 8
    scales_per_octave: int = 1

    @property
    def anchors_per_cell(self) -> int:
        """Anchors at every cell: ratios times scales."""
        return len(self.ratios) * self.scales_per_octave

    def base_anchors(self, level: int, device: torch.device | None = None) -> Tensor:
        """Return the anchors (anchors_per_cell, 4) xyxy of a cell at the origin, in pixels; ratios vary slowest."""
        ratios = torch.tensor(self.ratios, device=device).sqrt()
        octave = torch.tensor(
            [2 ** (step / self.scales_per_octave) * self.octave_base_scale for step in range(self.scales_per_octave)],
            device=device,
        )
        widths = (self.strides[level] * (1 / ratios)[:, None] * octave).flatten()
        heights = (self.strides[level] * ratios[:, None] * octave).flatten()
        return torch.stack((-0.5 * widths, -0.5 * heights, 0.5 * widths, 0.5 * heights), dim=-1)

    def grid(self, sizes: Sequence[tuple[int, int]], device: torch.device | None = None) -> list[Tensor]:
        """Return the anchors of every level, (height * width * anchors_per_cell, 4) xyxy pixels: rows, columns, shapes.

        Args:
            sizes: (height, width) in cells of every level.
            device: device of the anchors.
        """
        levels = []
        for level, ((height, width), stride) in enumerate(zip(sizes, self.strides, strict=True)):
            y, x = torch.meshgrid(
                torch.arange(height, device=device) * stride, torch.arange(width, device=device) * stride, indexing="ij"
            )
            shifts = torch.stack((x, y, x, y), dim=-1).reshape(-1, 1, 4)
            levels.append((shifts + self.base_anchors(level, device)).reshape(-1, 4))
        return levels

    def inside(
        self, sizes: Sequence[tuple[int, int]], image_size: tuple[int, int], device: torch.device | None = None
    ) -> list[Tensor]:
        """Return the indices of anchors whose cells overlap an image in the upper left corner, ascending.

        They are indices into the concatenation of `grid(sizes)`, (indices,) int64 for every level.

        Args:
            sizes: (height, width) in cells of every level.
            image_size: (height, width) in pixels.
            device: device of the indices; there is no synchronisation with it.
        """
        indices, start = [], 0
        shapes = torch.arange(self.anchors_per_cell, device=device)
        for (height, width), stride in zip(sizes, self.strides, strict=True):
            rows = torch.arange(min(height, math.ceil(image_size[0] / stride)), device=device)
            columns = torch.arange(min(width, math.ceil(image_size[1] / stride)), device=device)
            cells = (rows[:, None] * width + columns).flatten()
            indices.append((cells[:, None] * self.anchors_per_cell + shapes).flatten() + start)
            start += height * width * self.anchors_per_cell
        return indices
