"""Swin Transformer: attention within windows that are shifted in every other block (Liu et al., ICCV 2021).

This is the variant for detection, for images of any size. Parameters have the names of the published ImageNet
weights. Maps are (batch, height, width, channels) within the network and (batch, channels, height, width) outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codetr.models.backbones.config import SwinConfig
from codetr.models.backbones.windows import ceil_div, crop, pad_to_windows
from codetr.models.layers.checkpointing import run_layer
from codetr.models.layers.drop_path import DropPath

_PATCH = 4
"""Side of a patch, in pixels."""

_MLP_RATIO = 4

_MASKED_LOGIT = -100.0
"""Added to attention logits of pairs of tokens that must not attend to each other. Published weights were trained with
this finite value."""


class SwinPatchEmbedding(nn.Module):
    """A token for every patch of 4×4 pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, _PATCH, stride=_PATCH)
        self.norm = nn.LayerNorm(channels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (batch, 3, height, width) to (batch, height / 4, width / 4, channels), sizes rounded up."""
        height, width = pixels.shape[-2:]
        rows, columns = ceil_div(height, _PATCH), ceil_div(width, _PATCH)
        pixels = F.pad(pixels, (0, columns * _PATCH - width, 0, rows * _PATCH - height))
        tokens: Tensor = self.norm(self.proj(pixels).permute(0, 2, 3, 1))
        return tokens


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learnt bias for every offset between two tokens.

    Args:
        channels: channels of the tokens.
        heads: attention heads; must divide `channels`.
        window: side of a window, in tokens.
    """

    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        # It is a function of the window size, so it is not part of the weights.
        self.register_buffer("relative_position_index", relative_position_index(window), persistent=False)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def bias(self) -> Tensor:
        """Return the position bias (heads, tokens, tokens) of the attention logits of a window."""
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)

    def forward(self, windows: Tensor, bias: Tensor) -> Tensor:
        """Attend within each window.

        Args:
            windows: (..., tokens, channels), rows of a window one after another.
            bias: (heads, tokens, tokens), see `bias`, plus the mask; in exported programs also (windows, heads,
                tokens, tokens), one for every window.
        """
        tokens = windows.flatten(0, -3)
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if torch.compiler.is_exporting():
            # torch.export would specialise the function below to one window or to several.
            logits = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1]) + bias
            attended = logits.softmax(dim=-1) @ value
        else:
            # The bias is broadcast over windows, so nothing of the size of all logits is kept for it.
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype)[None])
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2)).view_as(windows)
        return out


def relative_position_index(window: int) -> Tensor:
    """Return the row of the bias table for every pair of tokens of a window.

    Returns:
        (tokens, tokens) int64 for query and key; the table has a row for every offset, vertical offsets first.
    """
    token = torch.arange(window * window)
    rows, columns = token // window, token % window
    down = rows[:, None] - rows + window - 1
    right = columns[:, None] - columns + window - 1
    return down * (2 * window - 1) + right


def border_masks(window: int, device: torch.device) -> Tensor:
    """Return the attention masks that separate tokens from opposite borders of the map in shifted windows.

    The cyclic shift moves the first rows of the map below its last ones. Only windows in the last row and in the last
    column contain tokens from both sides, and the masks are the same along the row or column.

    Args:
        window: side of a window in tokens; the map is shifted by half of it, rounded down.
        device: device of the masks.

    Returns:
        (3, tokens, tokens) to be added to logits: for windows in the last column, in the last row, and in the corner.
    """
    wrapped = torch.arange(window, device=device) >= window - window // 2
    row = wrapped.repeat_interleave(window)
    column = wrapped.repeat(window)
    rows_apart, columns_apart = row[:, None] != row, column[:, None] != column
    return torch.stack((columns_apart, rows_apart, rows_apart | columns_apart)) * _MASKED_LOGIT


class MLP(nn.Module):
    """Two linear layers, applied to every token."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, _MLP_RATIO * channels)
        self.fc2 = nn.Linear(_MLP_RATIO * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Transform tokens (..., channels)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class SwinBlock(nn.Module):
    """Attention within windows and an MLP, each with a residual connection.

    Args:
        channels: channels of the feature map.
        heads: attention heads.
        window: side of the windows, in tokens.
        shifted: shift the windows by half their side, so that information crosses their borders. Maps smaller than a
            window are shifted too, unlike in the classification variant.
        drop_path: probability of dropping a residual branch in training.
    """

    def __init__(self, channels: int, heads: int, window: int, *, shifted: bool, drop_path: float) -> None:
        super().__init__()
        self.window = window
        self.shift = window // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP(channels)

    def forward(self, x: Tensor, masks: Tensor) -> Tensor:
        """Transform a map (batch, height, width, channels).

        Args:
            x: the map.
            masks: result of `border_masks`.
        """
        x = x + self.drop_path(self._attend(self.norm1(x), masks))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out

    def _attend(self, x: Tensor, masks: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        # Padding follows the normalisation and is attended to, as in the training of published weights.
        x, rows, columns = pad_to_windows(x, self.window)
        if self.shift:
            x = x.roll((-self.shift, -self.shift), dims=(1, 2))
        windows = x.unflatten(2, (columns, self.window)).unflatten(1, (rows, self.window))
        windows = windows.transpose(2, 3).clone(memory_format=torch.contiguous_format).flatten(3, 4)
        windows = self._attend_shifted(windows, masks) if self.shift else self.attn(windows, self.attn.bias())
        windows = windows.unflatten(3, (self.window, self.window)).transpose(2, 3)
        windows = windows.clone(memory_format=torch.contiguous_format)
        x = windows.flatten(3, 4).flatten(1, 2)
        if self.shift:
            x = x.roll((self.shift, self.shift), dims=(1, 2))
        return crop(x, height, width)

    def _attend_shifted(self, windows: Tensor, masks: Tensor) -> Tensor:
        """Attend within shifted windows (batch, rows, columns, tokens, channels), grouped by their mask."""
        bias = self.attn.bias()
        last_column, last_row, corner = bias + masks[:, None]
        if torch.compiler.is_exporting():
            # Which of the four kinds occur depends on the size of the map, which is symbolic.
            kinds = torch.stack((bias, last_column, last_row, corner))
            attended: Tensor = self.attn(windows, _window_biases(kinds, *windows.shape[:3]))
            return attended
        upper = self._attend_rows(windows[:, :-1], bias, last_column)
        lower = self._attend_rows(windows[:, -1:], last_row, corner)
        return torch.cat((*upper, *lower), dim=1)

    def _attend_rows(self, windows: Tensor, bias: Tensor, bias_of_last: Tensor) -> list[Tensor]:
        """Attend within rows of windows, whose last window has another bias; an empty list without rows."""
        if windows.shape[1] == 0:
            return []
        parts = [self.attn(windows[:, :, -1:], bias_of_last)]
        if windows.shape[2] > 1:
            parts.insert(0, self.attn(windows[:, :, :-1], bias))
        return [torch.cat(parts, dim=2)]


def _window_biases(kinds: Tensor, batch: int, rows: int, columns: int) -> Tensor:
    """Return the bias of every window, (batch * rows * columns, heads, tokens, tokens).

    Args:
        kinds: (4, heads, tokens, tokens) for inner windows, the last column, the last row, the corner.
        batch, rows, columns: numbers of windows.
    """
    last_row = torch.arange(rows, device=kinds.device) == rows - 1
    last_column = torch.arange(columns, device=kinds.device) == columns - 1
    kind = 2 * last_row.long()[:, None] + last_column.long()
    return kinds[kind.flatten().repeat(batch)]


class PatchMerging(nn.Module):
    """Merge 2×2 neighbouring tokens into one with twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, height, width, channels) to (batch, height / 2, width / 2, 2 * channels), sizes rounded up."""
        height, width = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        # The lower neighbour precedes the right one, as in published weights.
        parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged: Tensor = self.reduction(self.norm(torch.cat(parts, dim=-1)))
        return merged


class SwinStage(nn.Module):
    """Blocks at one resolution, then patch merging, unless this is the last stage.

    Args:
        channels: channels of the feature map.
        heads: attention heads.
        window: side of the windows, in tokens.
        drop_path: drop rate of every block.
        merge: whether another stage follows.
        checkpointing: see `SwinConfig`.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        window: int,
        *,
        drop_path: Sequence[float],
        merge: bool,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.window, self.checkpointing = window, checkpointing
        self.blocks = nn.ModuleList(
            SwinBlock(channels, heads, window, shifted=index % 2 == 1, drop_path=rate)
            for index, rate in enumerate(drop_path)
        )
        self.downsample = PatchMerging(channels) if merge else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Transform a map (batch, height, width, channels).

        Returns:
            The map after all blocks, of the same shape, and the input of the next stage.
        """
        masks = border_masks(self.window, x.device)
        for block in self.blocks:
            x = run_layer(block, x, masks, checkpointing=self.checkpointing)
        return x, x if self.downsample is None else self.downsample(x)


class Swin(nn.Module):
    """A Swin Transformer that returns the normalised feature maps of its output stages.

    Args:
        config: sizes, output stages, frozen stages.
    """

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.out_stages, self.out_channels = config.out_stages, config.out_channels
        self.frozen_stages = config.frozen_stages
        self.patch_embed = SwinPatchEmbedding(config.width)
        # Stages after the last output stage would have unused parameters.
        last = config.out_stages[-1]
        rates = torch.linspace(0, config.drop_path, sum(config.depths), device="cpu").split(config.depths)
        self.layers = nn.ModuleList(
            SwinStage(
                config.channels[stage],
                config.attention_heads[stage],
                config.window_size,
                drop_path=rates[stage].tolist(),
                merge=stage < last,
                checkpointing=config.checkpointing,
            )
            for stage in range(last + 1)
        )
        for stage, channels in zip(config.out_stages, config.out_channels, strict=True):
            self.add_module(f"norm{stage}", nn.LayerNorm(channels))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self._frozen():
            module.eval().requires_grad_(False)

    def _frozen(self) -> Iterator[nn.Module]:
        if self.frozen_stages >= 0:
            yield self.patch_embed
            yield from self.layers[: self.frozen_stages]

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen parts stay in evaluation mode, so that none of their branches are dropped."""
        super().train(mode)
        for module in self._frozen():
            module.eval()
        return self

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Map normalised images (batch, 3, height, width) to (batch, channels, height / stride, width / stride)."""
        x = self.patch_embed(pixels)
        maps = []
        for stage, layer in enumerate(self.layers):
            # Under autocast, embedding and merging return bfloat16, too imprecise for the sum of a stage's branches.
            out, x = layer(x.float())
            if stage in self.out_stages:
                maps.append(self.get_submodule(f"norm{stage}")(out).permute(0, 3, 1, 2).contiguous())
        return maps
