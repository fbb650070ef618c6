"""Co-DETR: one encoder whose maps serve a query head and, in training, auxiliary dense heads as well.

The auxiliary heads are trained by many-to-one label assignment, which gives the encoder more supervision than
one-to-one matching does, and the boxes they were trained on become extra positive queries for the decoder
(Zong, Song and Liu, "DETRs with Collaborative Hybrid Assignments Training", ICCV 2023). Detecting with the query
head runs none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from codetr.core.errors import UserError
from codetr.models.backbones.build import build_backbone
from codetr.models.config import CoDINOHeadConfig, DetectorConfig, Head
from codetr.models.heads.dense.atss import ATSSHead
from codetr.models.heads.dense.rpn import RPNHead
from codetr.models.heads.instance.head import InstanceHead
from codetr.models.heads.query.co_deformable import CoDeformableHead
from codetr.models.heads.query.co_dino import CoDINOHead
from codetr.models.heads.query.postprocess import topk_detections
from codetr.models.heads.roi.box_head import RoIHead
from codetr.models.losses.federated import FederatedClasses
from codetr.models.losses.normalizer import Normalizer
from codetr.models.necks.build import build_neck
from codetr.models.random_draws import RandomDraws
from codetr.models.structures import Detections, ImageBatch, Target
from codetr.models.transformer.encoder import Encoder
from codetr.models.transformer.levels import EncoderOutput, FeatureLevels
from codetr.models.transformer.prediction_heads import QueryPredictions


class CoDETR(nn.Module):
    """A Co-Deformable-DETR or Co-DINO detector.

    Args:
        config: everything about it. Auxiliary heads set to None are neither built nor trained.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        channels, levels, classes = config.channels, len(config.strides), config.num_classes
        groups = config.norm_groups
        self.backbone = build_backbone(config.backbone)
        self.neck = build_neck(config.backbone, self.backbone.out_channels, channels=channels, groups=groups)
        self.encoder = Encoder(
            config.query.transformer,
            channels=channels,
            levels=levels,
            temperature=config.query.position_temperature,
            offset=config.query.position_offset,
        )
        self.query_head = (
            CoDINOHead(
                config.query,
                num_classes=classes,
                channels=channels,
                levels=levels,
                auxiliary_heads=config.auxiliary_heads,
            )
            if isinstance(config.query, CoDINOHeadConfig)
            else CoDeformableHead(
                config.query,
                num_classes=classes,
                channels=channels,
                levels=levels,
                auxiliary_heads=config.auxiliary_heads,
            )
        )
        self.rpn_head: RPNHead | None = None
        self.roi_head: RoIHead | None = None
        self.atss_head: ATSSHead | None = None
        if config.rpn is not None and config.roi is not None:
            self.rpn_head = RPNHead(config.rpn, channels=channels, strides=config.dense_strides)
            self.roi_head = RoIHead(
                config.roi, num_classes=classes, channels=channels, strides=config.strides, groups=groups
            )
        if config.atss is not None:
            self.atss_head = ATSSHead(
                config.atss, num_classes=classes, channels=channels, strides=config.dense_strides, groups=groups
            )
        self.instance_head: InstanceHead | None = None
        if config.instance is not None:
            self.instance_head = InstanceHead(config.instance, classes, channels, config.strides)
        self.federated = FederatedClasses(config.federated, classes) if config.federated is not None else None
        # Only the auxiliary heads see the extra level.
        self.downsample: nn.Sequential | None = None
        if config.auxiliary_heads:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, channels, 3, stride=2, padding=1), nn.GroupNorm(groups, channels)
            )

    def forward(
        self,
        batch: ImageBatch,
        targets: Sequence[Target] | None = None,
        normalizer: Normalizer | None = None,
        draws: RandomDraws | None = None,
    ) -> dict[str, Tensor] | list[Detections]:
        """Losses of a batch if its targets are given, detections if not.

        Args:
            batch: normalised images.
            targets: ground truth of every image, in pixels of the network's input; any image may have none.
            normalizer: answers with the divisors of the losses; by default those of this batch, averaged over ranks.
            draws: source of randomness; by default torch's generators.

        Returns:
            Scalar losses by name, already weighted, to be summed: `encoder.*`, `decoder{i}.*`, `dn{i}.*`, `rpn.*`,
            `instance.*`, `roi.*`, `roi_queries.decoder{i}.*`, `atss.*`, `atss_queries.decoder{i}.*`. Or a `Detections`
            per image.
        """
        if targets is None:
            return self.detect(batch)
        return self._losses(self.with_valid_area(batch), targets, normalizer or Normalizer(), draws or RandomDraws())

    @torch.no_grad()
    def detect(self, batch: ImageBatch, head: Head | None = None) -> list[Detections]:
        """Detections of every image, in pixels of the original image.

        Args:
            batch: normalised images.
            head: which head detects, by default `detect_head` of the configuration; "query" is the detector proper
                and the only one that runs then.

        Raises:
            UserError: the detector was built without the auxiliary head asked for.
        """
        head = head or self.config.detect_head
        batch = self.with_valid_area(batch)
        encoded = self.encode(batch)
        if head == "query":
            detections = self.query_head.detect(encoded, batch)
            if self.instance_head is not None:
                self.instance_head.add_masks(encoded.levels.split(encoded.memory), detections, batch)
            return detections
        if head == "atss" and self.atss_head is not None:
            return self.atss_head.detect(self.dense_maps(encoded), batch)
        if head == "roi" and self.rpn_head is not None and self.roi_head is not None:
            maps = self.dense_maps(encoded)
            return self.roi_head.detect(maps, self.rpn_head.propose(maps, batch), batch)
        hint = f"Its heads are: {', '.join(self.config.heads)}."
        raise UserError(f"this detector has no head '{head}'", hint=hint)

    def encode(self, batch: ImageBatch) -> EncoderOutput:
        """The encoder's memory of a batch."""
        maps = self.neck(self.backbone(batch.pixels))
        sizes = torch.tensor(batch.image_sizes, device=batch.pixels.device)
        return self.encoder(maps, FeatureLevels.of(maps, batch.canvas_size, sizes))

    def dense_maps(self, encoded: EncoderOutput) -> list[Tensor]:
        """The maps auxiliary heads work on, (batch, channels, height, width): the memory and one coarser level."""
        assert self.downsample is not None
        maps = encoded.levels.split(encoded.memory)
        return [*maps, self.downsample(maps[-1])]

    def with_valid_area(self, batch: ImageBatch) -> ImageBatch:
        """The batch with the part of the canvas that counts as image: all of it without a padding mask."""
        if self.config.padding_mask:
            return batch
        return replace(batch, image_sizes=[batch.canvas_size] * len(batch))

    def _losses(
        self, batch: ImageBatch, targets: Sequence[Target], normalizer: Normalizer, draws: RandomDraws
    ) -> dict[str, Tensor]:
        class_mask = None if self.federated is None else self.federated(targets, draws)
        encoded = self.encode(batch)
        losses, predictions = self.query_head.loss(encoded, batch, targets, normalizer, draws, class_mask)
        if self.instance_head is not None:
            losses |= self.instance_head.loss(
                encoded.levels.split(encoded.memory),
                self._boxes_to_mask(predictions, batch),
                targets,
                normalizer,
                draws.permutation,
            )
        if not self.config.auxiliary_heads:
            return losses
        maps = self.dense_maps(encoded)
        queries = {}
        if self.rpn_head is not None and self.roi_head is not None:
            rpn_losses, proposals = self.rpn_head.loss(maps, batch, targets, normalizer, draws.permutation)
            roi_losses, queries["roi"] = self.roi_head.loss(
                maps, proposals, batch, targets, normalizer, draws.permutation
            )
            losses |= rpn_losses | roi_losses
        if self.atss_head is not None:
            atss_losses, queries["atss"] = self.atss_head.loss(
                maps, batch, targets, normalizer, draws.permutation, class_mask
            )
            losses |= atss_losses
        for name, customised in queries.items():
            losses |= self.query_head.positive_query_loss(name, customised, encoded, batch, normalizer, class_mask)
        return losses

    @torch.no_grad()
    def _boxes_to_mask(self, predictions: QueryPredictions, batch: ImageBatch) -> list[Tensor]:
        """(n, 4) xyxy pixels of every image to learn masks for: the best (query, class) pairs of the last layer.

        As in the reference nothing is suppressed, and denoising queries are among them.
        """
        unscaled = replace(batch, scale_factors=[(1.0, 1.0)] * len(batch))
        return [found.boxes for found in topk_detections(predictions, self.config.query.max_detections, unscaled)]


def build_detector(config: DetectorConfig) -> CoDETR:
    """A detector with the random initial weights of the official implementation.

    Weights come from torch's default generator. The backbone is usually loaded with pretrained ones afterwards.
    """
    return CoDETR(config)
