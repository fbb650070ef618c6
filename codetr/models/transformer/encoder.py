"""The deformable encoder over all feature levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codetr.models.layers.checkpointing import run_layer
from codetr.models.transformer.config import TransformerConfig
from codetr.models.transformer.layers import EncoderLayer
from codetr.models.transformer.levels import EncoderOutput, FeatureLevels, flatten_maps
from codetr.models.transformer.positions import sine_positions


class Encoder(nn.Module):
    """Position encodings, level embeddings and the encoder layers.

    Args:
        config: sizes of the transformer.
        channels: channels of the feature maps.
        levels: number of feature maps.
        temperature: temperature of the position encoding, see `sine_embedding`.
        offset: offset of the position encoding, see `sine_positions`.
    """

    def __init__(
        self, config: TransformerConfig, *, channels: int, levels: int, temperature: float, offset: float
    ) -> None:
        super().__init__()
        self.channels, self.temperature, self.offset = channels, temperature, offset
        self.checkpointed = config.checkpointed_encoder_layers
        self.level_embeds = nn.Parameter(torch.empty(levels, channels))
        nn.init.normal_(self.level_embeds)
        self.layers = nn.ModuleList(
            EncoderLayer(channels, config.attention_heads, levels, config.sampling_points, config.feedforward_channels)
            for _ in range(config.encoder_layers)
        )

    def forward(self, maps: Sequence[Tensor], levels: FeatureLevels) -> EncoderOutput:
        """Encode the feature maps (batch, channels, height, width) of all levels."""
        tokens, padding = flatten_maps(maps), levels.padding
        positions = torch.cat(
            [
                sine_positions(mask, self.channels // 2, temperature=self.temperature, offset=self.offset).flatten(1, 2)
                + embedding
                for mask, embedding in zip(levels.padding_masks, self.level_embeds, strict=True)
            ],
            dim=1,
        )
        points = reference_points(levels)
        for index, layer in enumerate(self.layers):
            inputs = tokens, positions, points, padding, levels
            tokens = run_layer(layer, *inputs, checkpointing=index < self.checkpointed)
        return EncoderOutput(tokens, padding, levels)


def reference_points(levels: FeatureLevels) -> Tensor:
    """Return the reference points (batch, tokens, levels, 2) xy of every token, relative to the maps with padding.

    A token's centre, relative to the valid area of its level, is mapped to the valid areas of all levels.
    """
    ratios = levels.valid_ratios
    points = []
    for index, (height, width) in enumerate(levels.shapes):
        y = (torch.arange(height, dtype=torch.float32, device=ratios.device) + 0.5) / height
        x = (torch.arange(width, dtype=torch.float32, device=ratios.device) + 0.5) / width
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack((columns, rows), dim=-1).flatten(0, 1)
        points.append(centres / ratios[:, None, index])
    return torch.cat(points, dim=1)[:, :, None] * ratios[:, None]
