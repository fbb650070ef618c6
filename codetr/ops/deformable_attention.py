"""Multi-scale deformable attention (Zhu et al., "Deformable DETR", ICLR 2021, section 4.1).

Every query samples a few points of every level by bilinear interpolation and sums them by weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from codetr.ops.deformable_attention_cpu import deformable_attention_cpu


def multi_scale_deformable_attention(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Return the weighted sum of bilinear samples; values outside a level are zero.

    Args:
        value: (batch, tokens, heads, channels), tokens of all levels one after another, each row by row.
        spatial_shapes: (height, width) of every level.
        sampling_locations: (batch, queries, heads, levels, points, 2) xy, where 0 and 1 are the outer edges of a level.
        attention_weights: (batch, queries, heads, levels, points).

    Returns:
        (batch, queries, heads * channels).
    """
    # Exported programs support `grid_sample` and have to be the same for every device.
    on_cpu = value.device.type == "cpu" and not torch.compiler.is_exporting()
    implementation = deformable_attention_cpu if on_cpu else reference_deformable_attention
    return implementation(value, spatial_shapes, sampling_locations, attention_weights)


def reference_deformable_attention(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Compute `multi_scale_deformable_attention` with one `grid_sample` per level.

    This is the implementation for GPUs, and the reference of the others.
    """
    batch, _, heads, channels = value.shape
    _, queries, _, _, points, _ = sampling_locations.shape
    grids = 2 * sampling_locations - 1
    samples = []
    for level, tokens in enumerate(value.split([height * width for height, width in spatial_shapes], dim=1)):
        image = tokens.permute(0, 2, 3, 1).reshape(batch * heads, channels, *spatial_shapes[level])
        grid = grids[:, :, :, level].transpose(1, 2).reshape(batch * heads, queries, points, 2)
        samples.append(F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
    weights = attention_weights.permute(0, 2, 1, 3, 4).reshape(batch * heads, 1, queries, -1)
    output = (torch.stack(samples, dim=-2).flatten(-2) * weights).sum(-1)
    return output.view(batch, heads * channels, queries).transpose(1, 2)
