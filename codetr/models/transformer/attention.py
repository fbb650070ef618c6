"""The deformable attention module: predicts sampling points and their weights, then attends to them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codetr.ops.deformable_attention import multi_scale_deformable_attention
from codetr.ops.exporting import autocast_disabled


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention (Zhu et al., "Deformable DETR", ICLR 2021).

    Args:
        channels: width of queries and values.
        heads: attention heads; must divide `channels`.
        levels: feature levels.
        points: sampled points per head and level.
    """

    def __init__(self, channels: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(channels, heads * levels * points * 2)
        self.attention_weights = nn.Linear(channels, heads * levels * points)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise offsets to rays of points, one direction per head and one step per point, with equal weights."""
        nn.init.zeros_(self.sampling_offsets.weight)
        angles = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        rays = torch.stack((angles.cos(), angles.sin()), dim=-1)
        rays = rays / rays.abs().max(dim=-1, keepdim=True).values
        steps = torch.arange(1, self.points + 1, dtype=torch.float32)
        offsets = (rays[:, None, None, :] * steps[:, None]).expand(-1, self.levels, -1, -1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(
        self,
        query: Tensor,
        reference_points: Tensor,
        memory: Tensor,
        spatial_shapes: Sequence[tuple[int, int]],
        padding: Tensor,
    ) -> Tensor:
        """Attend to `memory` around the reference points, without a residual connection.

        Args:
            query: (batch, queries, channels), with position embeddings added.
            reference_points: (batch, queries, levels, 2) xy or (batch, queries, levels, 4) cxcywh, relative to
                each level's map including its padding. Offsets are in cells of the level around a point, and in
                fractions of half the box around a box.
            memory: (batch, tokens, channels), tokens of all levels.
            spatial_shapes: (height, width) of every level.
            padding: (batch, tokens) bool, True for tokens whose values are replaced by zeros.

        Returns:
            (batch, queries, channels).
        """
        batch, queries, _ = query.shape
        value = self.value_proj(memory).masked_fill(padding[..., None], 0)
        # Sampling positions need more digits than bfloat16 has: an offset of 4 cells would be off by 1/64 cell.
        with autocast_disabled(query.device):
            exact = query.float()
            offsets = self.sampling_offsets(exact).view(batch, queries, self.heads, self.levels, self.points, 2)
            weights = self.attention_weights(exact).view(batch, queries, self.heads, -1).softmax(-1)
            weights = weights.view(batch, queries, self.heads, self.levels, self.points)
            if reference_points.shape[-1] == 2:
                cells = torch.tensor([(w, h) for h, w in spatial_shapes], dtype=torch.float32, device=query.device)
                locations = reference_points[:, :, None, :, None] + offsets / cells[:, None]
            else:
                centres, sizes = reference_points[:, :, None, :, None].split(2, dim=-1)
                locations = centres + offsets / self.points * sizes * 0.5
            value = value.float().unflatten(-1, (self.heads, -1))
            output = multi_scale_deformable_attention(value, spatial_shapes, locations, weights)
        attended: Tensor = self.output_proj(output)
        return attended
