"""The layers of encoder and decoder, normalised after each residual connection ("post-norm")."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codetr.models.layers.initialisation import xavier_init
from codetr.models.transformer.attention import DeformableAttention
from codetr.models.transformer.levels import EncoderOutput, FeatureLevels


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between, and the residual connection around them."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, hidden)
        self.contract = nn.Linear(hidden, channels)
        xavier_init(self)

    def forward(self, x: Tensor) -> Tensor:
        """(..., channels) to the same shape."""
        return x + self.contract(F.relu(self.expand(x)))


class EncoderLayer(nn.Module):
    """Deformable self-attention of all tokens, then a feed-forward network."""

    def __init__(self, channels: int, heads: int, levels: int, points: int, hidden: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(channels, heads, levels, points)
        self.attention_norm = nn.LayerNorm(channels)
        self.feedforward = FeedForward(channels, hidden)
        self.feedforward_norm = nn.LayerNorm(channels)

    def forward(
        self, tokens: Tensor, positions: Tensor, reference_points: Tensor, padding: Tensor, levels: FeatureLevels
    ) -> Tensor:
        """Tokens (batch, tokens, channels) to the same shape; `positions` are added to the queries only."""
        attended = self.attention(tokens + positions, reference_points, tokens, levels.shapes, padding)
        tokens = self.attention_norm(tokens + attended)
        return self.feedforward_norm(self.feedforward(tokens))


class DecoderLayer(nn.Module):
    """Self-attention among queries, deformable attention to the encoder's memory, a feed-forward network."""

    def __init__(self, channels: int, heads: int, levels: int, points: int, hidden: int) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        xavier_init(self.self_attention)
        self.self_attention_norm = nn.LayerNorm(channels)
        self.cross_attention = DeformableAttention(channels, heads, levels, points)
        self.cross_attention_norm = nn.LayerNorm(channels)
        self.feedforward = FeedForward(channels, hidden)
        self.feedforward_norm = nn.LayerNorm(channels)

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        reference_boxes: Tensor,
        encoded: EncoderOutput,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """One layer.

        Args:
            queries: (batch, queries, channels).
            positions: the same shape, added to queries and keys.
            reference_boxes: (batch, queries, levels, 4) cxcywh relative to each level's map.
            encoded: the encoder's output.
            attention_mask: (queries, queries), True where a query (row) must not see another (column).

        Returns:
            (batch, queries, channels).
        """
        placed = queries + positions
        queries = self.self_attention_norm(queries + self._attend_to_queries(placed, queries, attention_mask))
        attended = self.cross_attention(
            queries + positions, reference_boxes, encoded.memory, encoded.levels.shapes, encoded.padding
        )
        queries = self.cross_attention_norm(queries + attended)
        return self.feedforward_norm(self.feedforward(queries))

    def _attend_to_queries(self, placed: Tensor, queries: Tensor, mask: Tensor | None) -> Tensor:
        """What `self.self_attention` computes of queries and keys `placed` and values `queries`.

        The module itself moves the batch to the second axis and back, which cannot be exported for any batch size.
        """
        module = self.self_attention
        projections = zip(module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3), strict=True)
        query, key, value = (
            F.linear(x, weight, bias).unflatten(-1, (module.num_heads, -1)).transpose(1, 2)
            for x, (weight, bias) in zip((placed, placed, queries), projections, strict=True)
        )
        hidden: Tensor | None = None
        if mask is not None:
            hidden = torch.zeros(mask.shape, dtype=query.dtype, device=mask.device).masked_fill(mask, float("-inf"))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=hidden)
        return module.out_proj(attended.transpose(1, 2).flatten(2))
