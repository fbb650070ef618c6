"""The layers of encoder and decoder, normalised after each residual connection ("post-norm")."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codetr.models.layers.initialisation import xavier_init
from codetr.models.transformer.attention import DeformableAttention
from codetr.models.transformer.levels import EncoderOutput, FeatureLevels


class FeedForward(nn.Module):
    """Two linear layers with a ReLU in between and a residual connection around them."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, hidden)
        self.contract = nn.Linear(hidden, channels)
        xavier_init(self)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (..., channels)."""
        out: Tensor = x + self.contract(F.relu(self.expand(x)))
        return out


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
        """Encode tokens once.

        Args:
            tokens: (batch, tokens, channels).
            positions: (batch, tokens, channels) position embeddings, added to the queries of the attention only.
            reference_points: (batch, tokens, levels, 2) xy relative to each level's map.
            padding: (batch, tokens) bool, True for padding.
            levels: geometry of the tokens.

        Returns:
            (batch, tokens, channels).
        """
        attended = self.attention(tokens + positions, reference_points, tokens, levels.shapes, padding)
        tokens = self.attention_norm(tokens + attended)
        out: Tensor = self.feedforward_norm(self.feedforward(tokens))
        return out


class DecoderLayer(nn.Module):
    """Self-attention of the queries, deformable attention to the encoder's memory, a feed-forward network.

    Args:
        channels: width of queries and memory.
        heads: heads of the self-attention and of the deformable attention.
        levels: levels of the memory.
        points: sampled points per head and level.
        hidden: hidden channels of the feed-forward network.
    """

    def __init__(self, channels: int, heads: tuple[int, int], levels: int, points: int, hidden: int) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(channels, heads[0], batch_first=True)
        xavier_init(self.self_attention)
        self.self_attention_norm = nn.LayerNorm(channels)
        self.cross_attention = DeformableAttention(channels, heads[1], levels, points)
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
        """Decode queries once.

        Args:
            queries: (batch, queries, channels).
            positions: (batch, queries, channels) position embeddings, added to queries and keys.
            reference_boxes: (batch, queries, levels, 4) cxcywh relative to each level's map.
            encoded: output of the encoder.
            attention_mask: (queries, queries) bool, True where a query (row) must not attend to another (column).

        Returns:
            (batch, queries, channels).
        """
        positioned = queries + positions
        queries = self.self_attention_norm(queries + self._attend_to_queries(positioned, queries, attention_mask))
        attended = self.cross_attention(
            queries + positions, reference_boxes, encoded.memory, encoded.levels.shapes, encoded.padding
        )
        queries = self.cross_attention_norm(queries + attended)
        out: Tensor = self.feedforward_norm(self.feedforward(queries))
        return out

    def _attend_to_queries(self, positioned: Tensor, queries: Tensor, mask: Tensor | None) -> Tensor:
        """Apply `self.self_attention` to queries and keys `positioned` and values `queries`.

        The module itself moves the batch to the second axis and back, which cannot be exported for any batch size.
        """
        module = self.self_attention
        projections = zip(module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3), strict=True)
        query, key, value = (
            F.linear(x, weight, bias).unflatten(-1, (module.num_heads, -1)).transpose(1, 2)
            for x, (weight, bias) in zip((positioned, positioned, queries), projections, strict=True)
        )
        bias_of_mask: Tensor | None = None
        if mask is not None:
            zeros = torch.zeros(mask.shape, dtype=query.dtype, device=mask.device)
            bias_of_mask = zeros.masked_fill(mask, float("-inf"))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias_of_mask)
        out: Tensor = module.out_proj(attended.transpose(1, 2).flatten(2))
        return out
