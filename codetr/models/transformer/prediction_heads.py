"""The small networks that turn a query into class logits and a box, one pair per decoder layer and one more."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import Tensor, nn

from codetr.models.layers.initialisation import PRIOR_LOGIT
from codetr.models.transformer.positions import inverse_sigmoid
from codetr.ops.exporting import autocast_disabled


@dataclass
class QueryPredictions:
    """What queries say, layer by layer.

    Attributes:
        logits: (layers, batch, queries, classes).
        boxes: (layers, batch, queries, 4) normalised cxcywh.
    """

    logits: Tensor
    boxes: Tensor

    def split(self, count: int) -> tuple[QueryPredictions, QueryPredictions]:
        """The first `count` queries, and the others."""
        return (
            QueryPredictions(self.logits[:, :, :count], self.boxes[:, :, :count]),
            QueryPredictions(self.logits[:, :, count:], self.boxes[:, :, count:]),
        )


class PredictionHeads(nn.Module):
    """A linear classifier and a box network of three layers for every decoder layer and for the encoder's proposals.

    Args:
        layers: decoder layers; the pair of index `layers` serves the encoder's proposals.
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

    def classify(self, layer: int, hidden: Tensor) -> Tensor:
        """Queries (..., channels) to logits (..., classes), float32."""
        with autocast_disabled(hidden.device):
            return self.classifiers[layer](hidden.float())

    def delta(self, layer: int, hidden: Tensor) -> Tensor:
        """Queries (..., channels) to changes of box logits (..., 4), float32."""
        with autocast_disabled(hidden.device):
            return self.boxes[layer](hidden.float())

    def refine(self, layer: int, hidden: Tensor, references: Tensor, eps: float) -> Tensor:
        """Boxes (..., 4) in normalised cxcywh, moved from the references (the same form) by the queries."""
        return (self.delta(layer, hidden) + inverse_sigmoid(references, eps)).sigmoid()
