"""Prediction of class logits and boxes: a pair of small networks per decoder layer and for the encoder's proposals."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import Tensor, nn

from codetr.models.layers.initialisation import PRIOR_LOGIT
from codetr.models.transformer.positions import inverse_sigmoid
from codetr.ops.exporting import autocast_disabled


@dataclass
class QueryPredictions:
    """Predictions of queries, layer by layer.

    Attributes:
        logits: (layers, batch, queries, classes).
        boxes_cxcywh: (layers, batch, queries, 4) normalised.
    """

    logits: Tensor
    boxes_cxcywh: Tensor

    def split(self, count: int) -> tuple[QueryPredictions, QueryPredictions]:
        """Split into the first `count` queries and the remaining ones."""
        return (
            QueryPredictions(self.logits[:, :, :count], self.boxes_cxcywh[:, :, :count]),
            QueryPredictions(self.logits[:, :, count:], self.boxes_cxcywh[:, :, count:]),
        )


class PredictionHeads(nn.Module):
    """A linear classifier and a box network of three layers for every decoder layer and for the encoder's proposals.

    Args:
        layers: number of decoder layers; the pair with index `layers` serves the encoder's proposals.
        channels: width of the queries.
        num_classes: classes without background.
    """

    def __init__(self, layers: int, channels: int, num_classes: int) -> None:
        super().__init__()
        classifier = nn.Linear(channels, num_classes)
        nn.init.constant_(classifier.bias, PRIOR_LOGIT)
        last = nn.Linear(channels, 4)
        # Boxes start exactly at their references.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        box = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU(), last)
        self.classifiers = nn.ModuleList(copy.deepcopy(classifier) for _ in range(layers + 1))
        self.boxes = nn.ModuleList(copy.deepcopy(box) for _ in range(layers + 1))

    def classify(self, layer: int, queries: Tensor) -> Tensor:
        """Predict logits (..., classes), float32, from queries (..., channels)."""
        with autocast_disabled(queries.device):
            logits: Tensor = self.classifiers[layer](queries.float())
        return logits

    def box_deltas(self, layer: int, queries: Tensor) -> Tensor:
        """Predict changes of box logits (..., 4), float32, from queries (..., channels)."""
        with autocast_disabled(queries.device):
            deltas: Tensor = self.boxes[layer](queries.float())
        return deltas

    def refine(self, layer: int, queries: Tensor, reference_boxes: Tensor, eps: float) -> Tensor:
        """Predict boxes relative to reference boxes.

        Args:
            layer: index of the box network.
            queries: (..., channels).
            reference_boxes: (..., 4) normalised cxcywh.
            eps: bound of the inverse sigmoid of the reference boxes.

        Returns:
            (..., 4) normalised cxcywh.
        """
        return (self.box_deltas(layer, queries) + inverse_sigmoid(reference_boxes, eps)).sigmoid()
