"""The deformable decoder with iterative box refinement, in the two forms that Co-DETR uses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codetr.models.config import TransformerConfig
from codetr.models.layers.checkpointing import run_layer
from codetr.models.layers.initialisation import xavier_init
from codetr.models.transformer.layers import DecoderLayer
from codetr.models.transformer.levels import EncoderOutput
from codetr.models.transformer.positions import sine_embedding
from codetr.models.transformer.prediction_heads import PredictionHeads, QueryPredictions


@dataclass
class DecoderOutput:
    """What a decoder makes of its queries.

    Attributes:
        hidden: (batch, queries, channels) of every layer, as the predictors use it.
        references: (batch, queries, 4) normalised cxcywh that every layer's box is predicted relative to. Gradients
            reach the layer before through them ("look forward twice", DINO, section 3.5).
        refined: the boxes after the last layer, same form.
    """

    hidden: list[Tensor]
    references: list[Tensor]
    refined: Tensor

    def predict(self, predictors: PredictionHeads, eps: float) -> QueryPredictions:
        """Predictions of every layer; `eps` bounds the inverse sigmoid of the references."""
        logits = [predictors.classify(layer, hidden) for layer, hidden in enumerate(self.hidden)]
        boxes = [
            predictors.refine(layer, hidden, reference, eps)
            for layer, (hidden, reference) in enumerate(zip(self.hidden, self.references, strict=True))
        ]
        return QueryPredictions(torch.stack(logits), torch.stack(boxes))


def _layers(config: TransformerConfig, channels: int, levels: int) -> nn.ModuleList:
    return nn.ModuleList(
        DecoderLayer(channels, config.attention_heads, levels, config.sampling_points, config.feedforward_channels)
        for _ in range(config.decoder_layers)
    )


def _on_levels(boxes: Tensor, valid_ratios: Tensor) -> Tensor:
    """Boxes (batch, queries, 4) of the valid area, relative to every level's map: (batch, queries, levels, 4)."""
    return boxes[:, :, None] * valid_ratios.repeat(1, 1, 2)[:, None]


class DeformableDecoder(nn.Module):
    """The decoder of Co-Deformable-DETR: the queries' positions stay as they are from layer to layer."""

    EPS = 1e-5
    """Bound of the inverse sigmoid of reference boxes."""

    def __init__(self, config: TransformerConfig, channels: int, levels: int) -> None:
        super().__init__()
        self.layers = _layers(config, channels, levels)
        self.checkpointed = config.checkpointed_decoder_layers

    def forward(
        self, queries: Tensor, positions: Tensor, boxes: Tensor, encoded: EncoderOutput, predictors: PredictionHeads
    ) -> DecoderOutput:
        """Decode queries.

        Args:
            queries: (batch, queries, channels).
            positions: the same shape.
            boxes: (batch, queries, 4), initial references in normalised cxcywh.
            encoded: the encoder's output.
            predictors: refine the boxes after every layer.
        """
        hidden, references = [], [boxes]
        for index, layer in enumerate(self.layers):
            on_levels = _on_levels(boxes, encoded.levels.valid_ratios)
            inputs = queries, positions, on_levels, encoded
            queries = run_layer(layer, *inputs, checkpointing=index < self.checkpointed)
            refined = predictors.refine(index, queries, boxes, self.EPS)
            hidden.append(queries)
            references.append(refined)
            boxes = refined.detach()
        return DecoderOutput(hidden, references[:-1], references[-1])


class DINODecoder(nn.Module):
    """The decoder of Co-DINO: positions follow the refined boxes, and a norm precedes the predictors."""

    EPS = 1e-3
    """Bound of the inverse sigmoid of reference boxes."""

    def __init__(self, config: TransformerConfig, channels: int, levels: int) -> None:
        super().__init__()
        self.layers = _layers(config, channels, levels)
        self.checkpointed = config.checkpointed_decoder_layers
        self.position_expand = nn.Linear(2 * channels, channels)
        self.position_contract = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        xavier_init(self.position_expand)
        xavier_init(self.position_contract)

    def forward(
        self,
        queries: Tensor,
        boxes: Tensor,
        encoded: EncoderOutput,
        predictors: PredictionHeads,
        attention_mask: Tensor | None = None,
    ) -> DecoderOutput:
        """Decode queries.

        Args:
            queries: (batch, queries, channels).
            boxes: (batch, queries, 4), initial references in normalised cxcywh.
            encoded: the encoder's output.
            predictors: refine the boxes after every layer.
            attention_mask: (queries, queries), True where a row must not see a column.
        """
        hidden, references = [], [boxes]
        for index, layer in enumerate(self.layers):
            on_levels = _on_levels(boxes, encoded.levels.valid_ratios)
            positions = self._positions(on_levels[:, :, 0])
            inputs = queries, positions, on_levels, encoded, attention_mask
            queries = run_layer(layer, *inputs, checkpointing=index < self.checkpointed)
            refined = predictors.refine(index, queries, boxes, self.EPS)
            hidden.append(self.norm(queries))
            references.append(refined)
            boxes = refined.detach()
        return DecoderOutput(hidden, references[:-1], references[-1])

    def _positions(self, boxes: Tensor) -> Tensor:
        embedded = sine_embedding(boxes[..., [1, 0, 2, 3]], self.norm.normalized_shape[0] // 2)
        return self.position_contract(F.relu(self.position_expand(embedded)))
