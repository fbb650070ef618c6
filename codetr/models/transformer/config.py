"""Configuration of the deformable encoder and decoder."""

from __future__ import annotations

from codetr.core.bounds import Channels, Layers, LayersOrZero, SmallCount
from codetr.core.settings import Settings


class TransformerConfig(Settings):
    """Sizes of the deformable encoder and decoder.

    Attributes:
        attention_heads: heads of the encoder's attention; every number of heads must divide the detector's channels.
        self_attention_heads: heads of the decoder's attention among queries; None for `attention_heads`.
        cross_attention_heads: heads of the decoder's attention to the encoder's output; None for `attention_heads`.
        sampling_points: sampling points per head and level of the deformable attention.
        checkpointed_encoder_layers: number of encoder layers, from the first, with activation checkpointing.
        checkpointed_decoder_layers: number of decoder layers, from the first, with activation checkpointing.
    """

    encoder_layers: Layers = 6
    decoder_layers: Layers = 6
    attention_heads: SmallCount = 8
    self_attention_heads: SmallCount | None = None
    cross_attention_heads: SmallCount | None = None
    sampling_points: SmallCount = 4
    feedforward_channels: Channels = 2048
    checkpointed_encoder_layers: LayersOrZero = 0
    checkpointed_decoder_layers: LayersOrZero = 0

    @property
    def decoder_heads(self) -> tuple[int, int]:
        """Heads of the decoder's self-attention and of its cross-attention."""
        return self.self_attention_heads or self.attention_heads, self.cross_attention_heads or self.attention_heads
