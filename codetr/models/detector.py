"""Co-DETR: an encoder whose feature maps serve a query head and, in training, auxiliary heads.

The auxiliary heads are trained with one-to-many label assignment, which gives the encoder more supervision than
one-to-one matching, and their foreground boxes become additional positive queries of the decoder (Zong, Song and Liu,
"DETRs with Collaborative Hybrid Assignments Training", ICCV 2023). At inference the query head does not need them.
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
        config: its configuration. Auxiliary heads set to None are neither built nor trained.
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
        # Only auxiliary heads use the additional level.
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
        """Compute the losses of a batch with targets, or the detections of a batch without.

        Args:
            batch: normalised images.
            targets: ground truth of every image, in pixels of the network's input; any image may have none.
            normalizer: provides the divisors of the losses; by default those of this batch, averaged over ranks.
            draws: source of random numbers; by default torch's generators.

        Returns:
            Weighted scalar losses by name, to be summed: `encoder.*`, `decoder{i}.*`, `dn{i}.*`, `rpn.*`,
            `instance.*`, `roi.*`, `roi_queries.decoder{i}.*`, `atss.*`, `atss_queries.decoder{i}.*`. Or one
            `Detections` per image.
        """
        if targets is None:
            return self.detect(batch)
        return self._losses(self.with_valid_area(batch), targets, normalizer or Normalizer(), draws or RandomDraws())

    @torch.no_grad()
    def detect(self, batch: ImageBatch, head: Head | None = None) -> list[Detections]:
        """Detect objects: one `Detections` per image, in pixels of the original image.

        Args:
            batch: normalised images.
            head: head to detect with, by default `detect_head` of the configuration. With "query" no auxiliary head
                runs.

        Raises:
            UserError: the detector was built without this head.
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
        hint = f"Heads: {', '.join(self.config.heads)}."
        raise UserError(f"this detector has no head '{head}'", hint=hint)

    def encode(self, batch: ImageBatch) -> EncoderOutput:
        """Encode a batch."""
        maps = self.neck(self.backbone(batch.pixels))
        sizes = torch.tensor(batch.image_sizes, device=batch.pixels.device)
        encoded: EncoderOutput = self.encoder(maps, FeatureLevels.of(maps, batch.canvas_size, sizes))
        return encoded

    def dense_maps(self, encoded: EncoderOutput) -> list[Tensor]:
        """Return the auxiliary heads' feature maps (batch, channels, height, width): the memory and a coarser level."""
        assert self.downsample is not None
        maps = encoded.levels.split(encoded.memory)
        return [*maps, self.downsample(maps[-1])]

    def with_valid_area(self, batch: ImageBatch) -> ImageBatch:
        """Return the batch with the valid area of every image: the whole canvas without a padding mask."""
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
                self._mask_proposals(predictions, batch),
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
        for name, positive in queries.items():
            losses |= self.query_head.positive_query_loss(name, positive, encoded, batch, normalizer, class_mask)
        return losses

    @torch.no_grad()
    def _mask_proposals(self, predictions: QueryPredictions, batch: ImageBatch) -> list[Tensor]:
        """Return boxes (n, 4) xyxy pixels of every image to train masks on: the best (query, class) pairs.

        As in the reference implementation they include denoising queries, and nothing is suppressed.
        """
        unscaled = replace(batch, scale_factors=[(1.0, 1.0)] * len(batch))
        return [det.boxes for det in topk_detections(predictions, self.config.query.max_detections, unscaled)]


def build_detector(config: DetectorConfig) -> CoDETR:
    """Build a detector with random weights, distributed as in the official implementation.

    They come from torch's default generator. The backbone is usually given pretrained weights afterwards.
    """
    return CoDETR(config)
