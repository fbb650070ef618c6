"""The query head of Co-Deformable-DETR: two-stage query selection, decoder, customised positive queries."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codetr.models.assignment.hungarian import match_predictions
from codetr.models.config import CoDeformableHeadConfig
from codetr.models.heads.query.positive_queries import PositiveQueries
from codetr.models.heads.query.postprocess import topk_detections
from codetr.models.heads.query.set_criterion import SetCriterion, matched_targets, positive_query_targets
from codetr.models.layers.initialisation import xavier_init
from codetr.models.losses.normalizer import Normalizer
from codetr.models.random_draws import RandomDraws
from codetr.models.structures import Detections, ImageBatch, Target
from codetr.models.transformer.decoder import DecoderOutput, DeformableDecoder
from codetr.models.transformer.levels import EncoderOutput
from codetr.models.transformer.positions import box_embedding, inverse_sigmoid
from codetr.models.transformer.prediction_heads import PredictionHeads, QueryPredictions
from codetr.models.transformer.proposals import EncoderProposals, ProposalHead


class PositiveQueryEmbedding(nn.Module):
    """Content and position of decoder queries from one auxiliary head's customised positive queries (Co-DETR, 3.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.position = nn.Linear(2 * channels, 2 * channels)
        self.position_norm = nn.LayerNorm(2 * channels)
        self.feature = nn.Linear(channels, channels)
        self.feature_norm = nn.LayerNorm(channels)
        xavier_init(self)

    def forward(self, queries: PositiveQueries) -> tuple[Tensor, Tensor]:
        """Return content and position of the queries, (batch, queries, channels) each."""
        channels = self.feature.in_features
        embedded = box_embedding(inverse_sigmoid(queries.boxes_cxcywh), channels)
        position, content = self.position_norm(self.position(embedded)).split(channels, dim=-1)
        return content + self.feature_norm(self.feature(queries.features)), position


class CoDeformableHead(nn.Module):
    """Two-stage Deformable DETR with mixed query selection and customised positive queries.

    Args:
        config: sizes, costs, weights.
        num_classes: classes without background.
        channels: width of the memory.
        levels: levels of the memory.
        auxiliary_heads: names of the heads that provide customised positive queries.
    """

    def __init__(
        self,
        config: CoDeformableHeadConfig,
        *,
        num_classes: int,
        channels: int,
        levels: int,
        auxiliary_heads: Sequence[str],
    ) -> None:
        super().__init__()
        self.config, self.num_classes, self.channels = config, num_classes, channels
        self.criterion = SetCriterion("focal", config.loss_weights, num_classes)
        self.proposals = ProposalHead(channels)
        self.decoder = DeformableDecoder(config.transformer, channels, levels)
        self.predictors = PredictionHeads(config.transformer.decoder_layers, channels, num_classes)
        self.query_embedding = nn.Embedding(config.queries, channels)
        # Only the first half of the output is used; published weights have both.
        self.position = nn.Linear(2 * channels, 2 * channels)
        self.position_norm = nn.LayerNorm(2 * channels)
        xavier_init(self.position)
        self.auxiliary = nn.ModuleDict({name: PositiveQueryEmbedding(channels) for name in auxiliary_heads})
        # Added to the positions of each head's queries: one number for all channels, as in published weights.
        self.auxiliary_offsets: nn.Parameter | None = None
        if auxiliary_heads:
            self.auxiliary_offsets = nn.Parameter(nn.init.xavier_uniform_(torch.empty(len(auxiliary_heads), 1)))

    def forward(self, encoded: EncoderOutput) -> tuple[QueryPredictions, EncoderProposals]:
        """Return the predictions of every decoder layer, and the encoder's proposals."""
        proposals = self.proposals(encoded, self.predictors)
        count = proposals.at_most(self.config.queries)
        # Selection uses logit 0 alone: in the loss of the proposals every object has class 0.
        selected = proposals.take(proposals.logits[..., 0].topk(count, dim=1).indices).box_logits.detach()
        embedded = self.position_norm(self.position(box_embedding(selected, self.channels)))
        content = self.query_embedding.weight[:count].repeat(selected.shape[0], 1, 1)
        return self._decode(content, embedded[..., : self.channels], selected.sigmoid(), encoded), proposals

    def loss(
        self,
        encoded: EncoderOutput,
        batch: ImageBatch,
        targets: Sequence[Target],
        normalizer: Normalizer,
        draws: RandomDraws,
        class_mask: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], QueryPredictions]:
        """Compute the losses `encoder.*` of the proposals and `decoder{i}.*` of every decoder layer.

        Args:
            encoded: output of the encoder.
            batch: the images.
            targets: ground truth of every image.
            normalizer: called with the number of positive proposals, then of positive queries.
            draws: not used; this head draws nothing.
            class_mask: (batch, classes) bool, classes that enter the classification loss of an image; None for all.

        Returns:
            Weighted scalars by name, and the predictions of every decoder layer.
        """
        decoded, proposals = self(encoded)
        proposed = QueryPredictions(proposals.logits[None], proposals.box_logits.sigmoid()[None])
        objects = [Target(target.boxes, torch.zeros_like(target.labels)) for target in targets]
        problems = [(proposed, objects), (decoded, targets)]
        matches = match_predictions(problems, batch, self.config.costs)
        losses: dict[str, Tensor] = {}
        # Proposals are classified as object or background: there is no class to exclude.
        for names, (predictions, problem_targets), problem_matches, mask in zip(
            (["encoder"], self._names("decoder")), problems, matches, (None, class_mask), strict=True
        ):
            positives = sum(min(predictions.logits.shape[2], len(target)) for target in problem_targets)
            losses |= self.criterion(
                names,
                predictions,
                matched_targets(problem_matches, problem_targets, batch, self.num_classes),
                batch,
                normalizer(positives, batch.pixels.device),
                mask,
            )
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
        content, positions = self.auxiliary[name](queries)
        assert self.auxiliary_offsets is not None
        positions = positions + self.auxiliary_offsets[list(self.auxiliary).index(name)]
        decoded = self._decode(content, positions, queries.boxes_cxcywh, encoded)
        return self.criterion(
            self._names(f"{name}_queries.decoder"),
            decoded,
            positive_query_targets(queries),
            batch,
            normalizer((queries.labels < self.num_classes).sum(), batch.pixels.device),
            class_mask,
            self.config.positive_query_weight,
        )

    def detect(self, encoded: EncoderOutput, batch: ImageBatch) -> list[Detections]:
        """Return the best (query, class) pairs of every image, in pixels of the original image; no suppression."""
        decoded, _ = self(encoded)
        return topk_detections(decoded, self.config.max_detections, batch)

    def _names(self, prefix: str) -> list[str]:
        return [f"{prefix}{layer}" for layer in range(len(self.decoder.layers))]

    def _decode(
        self, content: Tensor, positions: Tensor, reference_boxes: Tensor, encoded: EncoderOutput
    ) -> QueryPredictions:
        decoded: DecoderOutput = self.decoder(content, positions, reference_boxes, encoded, self.predictors)
        return decoded.predict(self.predictors, self.decoder.EPS)
