"""The feature levels of a batch as one sequence of tokens: shapes, padding and valid area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codetr.ops.exporting import contiguous_for_export


@dataclass
class FeatureLevels:
    """Geometry of the feature levels of one batch.

    Attributes:
        shapes: (height, width) of every level.
        padding_masks: (batch, height, width) bool of every level, True for padding.
        valid_ratios: (batch, levels, 2) fraction of the width and of the height that is not padding.
    """

    shapes: list[tuple[int, int]]
    padding_masks: list[Tensor]
    valid_ratios: Tensor

    @classmethod
    def of(cls, maps: Sequence[Tensor], canvas_size: tuple[int, int], image_sizes: Tensor) -> FeatureLevels:
        """Return the geometry of the feature maps of a batch.

        Args:
            maps: feature maps (batch, channels, height, width).
            canvas_size: (height, width) of the images with their padding, in pixels.
            image_sizes: (batch, 2) int64, height and width of every image without padding, in pixels.
        """
        shapes = [(feature.shape[-2], feature.shape[-1]) for feature in maps]
        masks = [
            (_nearest_pixels(canvas_size[0], height, image_sizes.device) >= image_sizes[:, :1])[:, :, None]
            | (_nearest_pixels(canvas_size[1], width, image_sizes.device) >= image_sizes[:, 1:])[:, None, :]
            for height, width in shapes
        ]
        ratios = [
            torch.stack(((~mask[:, 0, :]).sum(1) / mask.shape[2], (~mask[:, :, 0]).sum(1) / mask.shape[1]), dim=-1)
            for mask in masks
        ]
        return cls(shapes, masks, torch.stack(ratios, dim=1))

    @property
    def padding(self) -> Tensor:
        """(batch, tokens) bool, True for tokens in the padding."""
        return torch.cat([mask.flatten(1) for mask in self.padding_masks], dim=1)

    @property
    def sizes(self) -> list[int]:
        """Number of tokens of every level."""
        return [height * width for height, width in self.shapes]

    def split(self, tokens: Tensor) -> list[Tensor]:
        """Split tokens (batch, tokens, channels) into maps (batch, channels, height, width), one per level."""
        return [
            contiguous_for_export(part.transpose(1, 2).unflatten(2, shape))
            for part, shape in zip(tokens.split(self.sizes, dim=1), self.shapes, strict=True)
        ]


@dataclass
class EncoderOutput:
    """Output of the encoder for one batch.

    Attributes:
        memory: (batch, tokens, channels).
        padding: (batch, tokens) bool, True for tokens in the padding.
        levels: geometry of the tokens.
    """

    memory: Tensor
    padding: Tensor
    levels: FeatureLevels


def _nearest_pixels(pixels: int, cells: int, device: torch.device) -> Tensor:
    """Return the pixel (cells,) int64 that "nearest" interpolation in float32 selects for each cell."""
    return (torch.arange(cells, dtype=torch.float32, device=device) * (pixels / cells)).floor().long()


def flatten_maps(maps: Sequence[Tensor]) -> Tensor:
    """Flatten maps (batch, channels, height, width) of all levels to tokens (batch, tokens, channels), row by row."""
    return torch.cat([feature.flatten(2).transpose(1, 2) for feature in maps], dim=1)
