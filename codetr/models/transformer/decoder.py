"""The deformable decoder with iterative box refinement, in the two variants of Co-DETR."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codetr.models.layers.checkpointing import run_layer
from codetr.models.layers.initialisation import xavier_init
from codetr.models.transformer.config import TransformerConfig
from codetr.models.transformer.layers import DecoderLayer
from codetr.models.transformer.levels import EncoderOutput
from codetr.models.transformer.positions import sine_embedding
from codetr.models.transformer.prediction_heads import PredictionHeads, QueryPredictions


@dataclass
class DecoderOutput:
    """Output of a decoder.

    Attributes:
        hidden: (batch, queries, channels) of every layer, as the prediction heads use it.
        reference_boxes: (batch, queries, 4) normalised cxcywh, relative to which every layer's box is predicted.
            Gradients reach the previous layer through them ("look forward twice", DINO, section 3.5).
        refined_boxes: (batch, queries, 4) normalised cxcywh, the boxes after the last layer.
    """

    hidden: list[Tensor]
    reference_boxes: list[Tensor]
    refined_boxes: Tensor

    def predict(self, predictors: PredictionHeads, eps: float) -> QueryPredictions:
        """Return the predictions of every layer; `eps` bounds the inverse sigmoid of the reference boxes."""
        logits = [predictors.classify(layer, hidden) for layer, hidden in enumerate(self.hidden)]
        boxes = [
            predictors.refine(layer, hidden, reference, eps)
            for layer, (hidden, reference) in enumerate(zip(self.hidden, self.reference_boxes, strict=True))
        ]
        return QueryPredictions(torch.stack(logits), torch.stack(boxes))


def _layers(config: TransformerConfig, channels: int, levels: int) -> nn.ModuleList:
    return nn.ModuleList(
        DecoderLayer(channels, config.decoder_heads, levels, config.sampling_points, config.feedforward_channels)
        for _ in range(config.decoder_layers)
    )


def _scale_to_levels(boxes_cxcywh: Tensor, valid_ratios: Tensor) -> Tensor:
    """Convert boxes (batch, queries, 4) of the valid area to every level's map: (batch, queries, levels, 4)."""
    return boxes_cxcywh[:, :, None] * valid_ratios.repeat(1, 1, 2)[:, None]


class DeformableDecoder(nn.Module):
    """The decoder of Co-Deformable-DETR: positions of queries are the same in every layer."""

    EPS = 1e-5
    """Bound of the inverse sigmoid of reference boxes."""

    def __init__(self, config: TransformerConfig, channels: int, levels: int) -> None:
        super().__init__()
        self.layers = _layers(config, channels, levels)
        self.checkpointed = config.checkpointed_decoder_layers

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        reference_boxes: Tensor,
        encoded: EncoderOutput,
        predictors: PredictionHeads,
    ) -> DecoderOutput:
        """Decode queries.

        Args:
            queries: (batch, queries, channels).
            positions: (batch, queries, channels) position embeddings.
            reference_boxes: (batch, queries, 4) normalised cxcywh, for the first layer.
            encoded: output of the encoder.
            predictors: refine the boxes after every layer.
        """
        hidden, references = [], [reference_boxes]
        for index, layer in enumerate(self.layers):
            on_levels = _scale_to_levels(reference_boxes, encoded.levels.valid_ratios)
            inputs = queries, positions, on_levels, encoded
            queries = run_layer(layer, *inputs, checkpointing=index < self.checkpointed)
            refined = predictors.refine(index, queries, reference_boxes, self.EPS)
            hidden.append(queries)
            references.append(refined)
            reference_boxes = refined.detach()
        return DecoderOutput(hidden, references[:-1], references[-1])


class DINODecoder(nn.Module):
    """The decoder of Co-DINO: positions follow the refined boxes, and a norm precedes the prediction heads."""

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
        reference_boxes: Tensor,
        encoded: EncoderOutput,
        predictors: PredictionHeads,
        attention_mask: Tensor | None = None,
    ) -> DecoderOutput:
        """Decode queries.

        Args:
            queries: (batch, queries, channels).
            reference_boxes: (batch, queries, 4) normalised cxcywh, for the first layer.
            encoded: output of the encoder.
            predictors: refine the boxes after every layer.
            attention_mask: (queries, queries) bool, True where a query (row) must not attend to another (column).
        """
        hidden, references = [], [reference_boxes]
        for index, layer in enumerate(self.layers):
            on_levels = _scale_to_levels(reference_boxes, encoded.levels.valid_ratios)
            positions = self._positions(on_levels[:, :, 0])
            inputs = queries, positions, on_levels, encoded, attention_mask
            queries = run_layer(layer, *inputs, checkpointing=index < self.checkpointed)
            refined = predictors.refine(index, queries, reference_boxes, self.EPS)
            hidden.append(self.norm(queries))
            references.append(refined)
            reference_boxes = refined.detach()
        return DecoderOutput(hidden, references[:-1], references[-1])

    def _positions(self, boxes_cxcywh: Tensor) -> Tensor:
        # Published weights have the row before the column.
        embedded = sine_embedding(boxes_cxcywh[..., [1, 0, 2, 3]], self.norm.normalized_shape[0] // 2)
        positions: Tensor = self.position_contract(F.relu(self.position_expand(embedded)))
        return positions
