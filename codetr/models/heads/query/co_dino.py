"""The query head of Co-DINO: DINO's query selection, denoising and decoder, with customised positive queries."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codetr.models.assignment.hungarian import match_predictions
from codetr.models.config import CoDINOHeadConfig
from codetr.models.heads.query.denoising import DenoisingQueries, denoising_queries
from codetr.models.heads.query.positive_queries import PositiveQueries
from codetr.models.heads.query.postprocess import topk_detections
from codetr.models.heads.query.set_criterion import SetCriterion, matched_targets, positive_query_targets
from codetr.models.layers.initialisation import xavier_init
from codetr.models.losses.normalizer import Normalizer
from codetr.models.random_draws import RandomDraws
from codetr.models.structures import Detections, ImageBatch, Target
from codetr.models.transformer.decoder import DINODecoder
from codetr.models.transformer.levels import EncoderOutput
from codetr.models.transformer.positions import box_embedding, inverse_sigmoid
from codetr.models.transformer.prediction_heads import PredictionHeads, QueryPredictions
from codetr.models.transformer.proposals import EncoderProposals, ProposalHead
from codetr.ops.nms import batched_nms


class PositiveContentEmbedding(nn.Module):
    """Content of decoder queries from the boxes of one auxiliary head's customised positive queries."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.content = nn.Linear(2 * channels, channels)
        self.content_norm = nn.LayerNorm(channels)
        xavier_init(self)

    def forward(self, queries: PositiveQueries) -> Tensor:
        """Return the content (batch, queries, channels) of the queries."""
        embedded = box_embedding(inverse_sigmoid(queries.boxes_cxcywh), self.content.out_features)
        content: Tensor = self.content_norm(self.content(embedded))
        return content


class CoDINOHead(nn.Module):
    """DINO (Zhang et al., ICLR 2023) with customised positive queries.

    Args:
        config: sizes, denoising, costs, weights.
        num_classes: classes without background.
        channels: width of the memory.
        levels: levels of the memory.
        auxiliary_heads: names of the heads that provide customised positive queries.
    """

    def __init__(
        self, config: CoDINOHeadConfig, *, num_classes: int, channels: int, levels: int, auxiliary_heads: Sequence[str]
    ) -> None:
        super().__init__()
        self.config, self.num_classes = config, num_classes
        self.criterion = SetCriterion("quality", config.loss_weights, num_classes)
        self.proposals = ProposalHead(channels)
        self.decoder = DINODecoder(config.transformer, channels, levels)
        self.predictors = PredictionHeads(config.transformer.decoder_layers, channels, num_classes)
        self.query_embedding = nn.Embedding(config.queries, channels)
        self.label_embedding = nn.Embedding(num_classes, channels)
        self.auxiliary = nn.ModuleDict({name: PositiveContentEmbedding(channels) for name in auxiliary_heads})

    def forward(
        self, encoded: EncoderOutput, denoising: DenoisingQueries | None = None
    ) -> tuple[QueryPredictions, EncoderProposals]:
        """Return the predictions of every decoder layer, denoising queries first, and the selected proposals."""
        proposals = self.proposals(encoded, self.predictors)
        count = proposals.at_most(self.config.queries)
        selected = proposals.take(proposals.logits.max(-1).values.topk(count, dim=1).indices)
        content = self.query_embedding.weight[:count].repeat(encoded.memory.shape[0], 1, 1)
        reference_boxes, mask = selected.box_logits.detach().sigmoid(), None
        if denoising is not None:
            labels = self.label_embedding(denoising.labels.clamp(max=self.num_classes - 1))
            content = torch.cat((labels * denoising.filled[..., None], content), dim=1)
            noisy = inverse_sigmoid(denoising.boxes_cxcywh, self.decoder.EPS) * denoising.filled[..., None]
            reference_boxes = torch.cat((noisy.sigmoid(), reference_boxes), dim=1)
            mask = denoising.attention_mask(count)
        decoded = self.decoder(content, reference_boxes, encoded, self.predictors, mask)
        return decoded.predict(self.predictors, self.decoder.EPS), selected

    def loss(
        self,
        encoded: EncoderOutput,
        batch: ImageBatch,
        targets: Sequence[Target],
        normalizer: Normalizer,
        draws: RandomDraws,
        class_mask: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], QueryPredictions]:
        """Compute the losses `encoder.*` of the selected proposals, `decoder{i}.*` and `dn{i}.*` of every layer.

        Args:
            encoded: output of the encoder.
            batch: the images.
            targets: ground truth of every image.
            normalizer: called with the number of positive queries, then of positive denoising queries.
            draws: source of the denoising noise.
            class_mask: (batch, classes) bool, classes that enter the classification loss of an image; None for all.

        Returns:
            Weighted scalars by name, and the predictions of every decoder layer, denoising queries first.
        """
        denoising = denoising_queries(targets, batch, self.config.denoising, self.num_classes, draws)
        decoded, selected = self(encoded, denoising)
        noisy, matching = decoded.split(0 if denoising is None else len(denoising))
        # Proposals and decoder layers have the same queries and objects, hence the same number of positives.
        layers = QueryPredictions(
            torch.cat((selected.logits[None], matching.logits)),
            torch.cat((selected.box_logits.sigmoid()[None], matching.boxes_cxcywh)),
        )
        (matches,) = match_predictions([(layers, targets)], batch, self.config.costs)
        positives = sum(min(layers.logits.shape[2], len(target)) for target in targets)
        losses = self.criterion(
            ["encoder", *self._names("decoder")],
            layers,
            matched_targets(matches, targets, batch, self.num_classes),
            batch,
            normalizer(positives, batch.pixels.device),
            class_mask,
        )
        positives = 0 if denoising is None else denoising.positives
        divisor = normalizer(positives, batch.pixels.device)
        if denoising is not None:
            losses |= self.criterion(self._names("dn"), noisy, denoising.targets, batch, divisor, class_mask)
            return losses, decoded
        # Without objects there is nothing to denoise; DDP still needs a gradient for every parameter.
        zero = self.label_embedding.weight.sum() * 0
        losses |= {f"{name}.{part}": zero for name in self._names("dn") for part in ("cls", "l1", "giou")}
        return losses, decoded

    def positive_query_loss(
        self,
        name: str,
        queries: PositiveQueries,
        encoded: EncoderOutput,
        batch: ImageBatch,
        normalizer: Normalizer,
        class_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses `<name>_queries.decoder{i}.*` of an auxiliary head's customised positive queries.

        Args:
            name: name of the auxiliary head.
            queries: its queries.
            encoded: output of the encoder.
            batch: the images.
            normalizer: called with the number of foreground queries.
            class_mask: see `loss`.
        """
        decoded = self.decoder(self.auxiliary[name](queries), queries.boxes_cxcywh, encoded, self.predictors)
        return self.criterion(
            self._names(f"{name}_queries.decoder"),
            decoded.predict(self.predictors, self.decoder.EPS),
            positive_query_targets(queries),
            batch,
            normalizer((queries.labels < self.num_classes).sum(), batch.pixels.device),
            class_mask,
            self.config.positive_query_weight,
        )

    def detect(self, encoded: EncoderOutput, batch: ImageBatch) -> list[Detections]:
        """Return the best (query, class) pairs of every image after suppression, in pixels of the original image."""
        decoded, _ = self(encoded)
        return [self._suppress(pairs) for pairs in topk_detections(decoded, self.config.queries, batch)]

    def _suppress(self, pairs: Detections) -> Detections:
        nms, limit = self.config.nms, self.config.max_detections
        above = pairs.scores > self.config.score_threshold
        boxes, scores, labels = pairs.boxes[above], pairs.scores[above], pairs.labels[above]
        if nms is None:
            return Detections(boxes[:limit], scores[:limit], labels[:limit])
        scores, kept = batched_nms(
            boxes, scores, labels, nms.iou_threshold, method=nms.method, min_score=nms.min_score, limit=limit
        )
        return Detections(boxes[kept], scores, labels[kept])

    def _names(self, prefix: str) -> list[str]:
        return [f"{prefix}{layer}" for layer in range(len(self.decoder.layers))]
