"""The plain vision transformer of EVA-02 (Fang et al., 2023) as a backbone for detection.

Most blocks attend within windows, a few across the whole image, as in ViTDet (Li et al., "Exploring Plain Vision
Transformer Backbones for Object Detection", ECCV 2022, section 3). Blocks have rotary position embeddings and gated
feed-forward networks. Parameters and buffers have the names of the published checkpoints.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codetr.core.errors import UserError
from codetr.models.backbones.config import PATCH_SIZE, ViTConfig
from codetr.models.backbones.rope import RotaryTable, rotary_angles, rotate
from codetr.models.backbones.windows import ceil_div, crop, pad_to_windows
from codetr.models.layers.checkpointing import run_layer
from codetr.models.layers.drop_path import DropPath
from codetr.ops.exporting import contiguous_for_export

_EPSILON = 1e-6
"""Epsilon of the normalisations within blocks; the last normalisation has PyTorch's default."""


class ViT(nn.Module):
    """A plain vision transformer that returns one feature map of stride 16.

    Args:
        config: sizes, global blocks, regularisation.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config, self.out_channels = config, config.out_channels
        channels, heads = config.channels, config.attention_heads
        # The first entry belongs to the class token of the pretraining and is not used.
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.pretrained_grid**2, channels))
        self.patch_embed = ViTPatchEmbedding(channels)
        self.rope_win = RotaryTable(config.window_size, channels // heads)
        self.rope_glb: RotaryTable | None = None
        if config.canvas is not None:
            self.rope_glb = RotaryTable(config.canvas // PATCH_SIZE, channels // heads)
        drop_path = torch.linspace(0, config.drop_path, config.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(
            ViTBlock(
                RotaryAttention(channels, heads, self.rope_glb if index in config.global_blocks else self.rope_win),
                GatedFeedforward(channels, config.feedforward_channels),
                channels,
                window_size=None if index in config.global_blocks else config.window_size,
                drop_path=drop_path[index],
            )
            for index in range(config.depth)
        )
        self.out_norm = nn.LayerNorm(channels)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Map normalised images (batch, 3, height, width) to one map (batch, channels, height / 16, width / 16).

        Rows and columns of pixels beyond a multiple of 16 are ignored: images should be padded to one.

        Raises:
            UserError: the backbone has a fixed canvas, and the images do not have its size.
        """
        canvas, size = self.config.canvas, tuple(pixels.shape[-2:])
        if canvas is not None and size != (canvas, canvas):
            raise UserError(
                f"is {canvas}, so every batch must be {canvas} by {canvas} pixels, but one has height {size[0]} and "
                f"width {size[1]}",
                where="backbone.canvas",
                hint="Resize images to fit into the canvas and pad them to it.",
            )
        x = self.patch_embed(pixels)
        x = x + resize_positions(self.pos_embed, x.shape[1], x.shape[2])
        for block in self.blocks:
            x = run_layer(block, x, checkpointing=self.config.checkpointing)
        return [contiguous_for_export(self.out_norm(x).permute(0, 3, 1, 2))]


class ViTPatchEmbedding(nn.Module):
    """A linear map of every patch of 16×16 pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, PATCH_SIZE, stride=PATCH_SIZE)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (batch, 3, height, width) to (batch, height / 16, width / 16, channels)."""
        tokens: Tensor = self.proj(pixels).permute(0, 2, 3, 1)
        return tokens


def resize_positions(pos_embed: Tensor, height: int, width: int) -> Tensor:
    """Resize learnt positions of a square grid bicubically: (1, 1 + cells, channels) to (1, height, width, channels).

    The first entry, that of the class token, is dropped.
    """
    side = math.isqrt(pos_embed.shape[1] - 1)
    grid = pos_embed[:, 1:].unflatten(1, (side, side))
    resized = F.interpolate(grid.permute(0, 3, 1, 2), (height, width), mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)


class ViTBlock(nn.Module):
    """Attention and a feed-forward network, each with a preceding normalisation and a residual connection.

    Args:
        attention: attention of the tokens of a window, or of all tokens.
        feedforward: feed-forward network of every token.
        channels: channels of the tokens.
        window_size: side of the windows in tokens, None for global attention.
        drop_path: probability that either branch is dropped for an image in training.
    """

    def __init__(
        self, attention: nn.Module, feedforward: nn.Module, channels: int, *, window_size: int | None, drop_path: float
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(channels, eps=_EPSILON)
        self.attn = attention
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels, eps=_EPSILON)
        self.mlp = feedforward

    def forward(self, x: Tensor) -> Tensor:
        """Transform a map (batch, height, width, channels)."""
        x = x + self.drop_path(self._attend(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out

    def _attend(self, x: Tensor) -> Tensor:
        size = self.window_size
        attended: Tensor = self.attn(x if size is None else split_windows(x, size))
        return attended if size is None else join_windows(attended, *x.shape[:3])


def split_windows(x: Tensor, size: int) -> Tensor:
    """Split a map (batch, height, width, channels) into windows (batch * windows, size, size, channels).

    It is padded with zeros at the bottom and right. The padding is not masked: published weights were trained with
    attention to it.
    """
    x, rows, columns = pad_to_windows(x, size)
    windows: Tensor = x.unflatten(2, (columns, size)).unflatten(1, (rows, size)).transpose(2, 3)
    return windows.clone(memory_format=torch.contiguous_format).flatten(0, 2)


def join_windows(windows: Tensor, batch: int, height: int, width: int) -> Tensor:
    """Join windows (batch * windows, size, size, channels) to a map (batch, height, width, channels)."""
    size = windows.shape[1]
    rows, columns = ceil_div(height, size), ceil_div(width, size)
    x = windows.unflatten(0, (batch, rows, columns)).transpose(2, 3).clone(memory_format=torch.contiguous_format)
    return crop(x.flatten(3, 4).flatten(1, 2), height, width)


class RotaryAttention(nn.Module):
    """Multi-head self-attention with rotary position embeddings; keys have no bias.

    Args:
        channels: channels of the tokens.
        heads: attention heads; must divide `channels`.
        table: cosines and sines for grids of one size, shared between blocks; None computes them for each grid.
    """

    def __init__(self, channels: int, heads: int, table: RotaryTable | None) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(channels, channels, bias=False)
        self.k_proj = nn.Linear(channels, channels, bias=False)
        self.v_proj = nn.Linear(channels, channels, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(channels))
        self.v_bias = nn.Parameter(torch.zeros(channels))
        self.rope = table
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each grid (batch, height, width, channels)."""
        height, width = x.shape[1:3]
        tokens = x.flatten(1, 2)
        query = self._split_heads(F.linear(tokens, self.q_proj.weight, self.q_bias))
        key = self._split_heads(self.k_proj(tokens))
        value = self._split_heads(F.linear(tokens, self.v_proj.weight, self.v_bias))
        if self.rope is None:
            angles = rotary_angles(height, width, query.shape[-1], x.device)
            cos, sin = angles.cos(), angles.sin()
        else:
            cos, sin = self.rope.freqs_cos, self.rope.freqs_sin
        attended = F.scaled_dot_product_attention(rotate(query, cos, sin), rotate(key, cos, sin), value)
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2)).unflatten(1, (height, width))
        return out

    def _split_heads(self, tokens: Tensor) -> Tensor:
        heads: Tensor = tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)
        return heads


class GatedFeedforward(nn.Module):
    """A gated feed-forward network (SwiGLU; Shazeer, 2020) with a normalisation of the hidden channels.

    Args:
        channels: channels of the tokens.
        hidden: hidden channels.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(channels, hidden)
        self.w2 = nn.Linear(channels, hidden)
        self.ffn_ln = nn.LayerNorm(hidden, eps=_EPSILON)
        self.w3 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Transform tokens (..., channels)."""
        out: Tensor = self.w3(self.ffn_ln(F.silu(self.w1(x)) * self.w2(x)))
        return out
