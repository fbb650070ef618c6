"""The region proposal network (Ren et al., "Faster R-CNN", NeurIPS 2015, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codetr.models.assignment.max_iou import MaxIoUAssigner
from codetr.models.assignment.random_sampler import Permute, RandomSampler
from codetr.models.config import ProposalConfig, RPNConfig
from codetr.models.heads.dense.anchors import AnchorGenerator
from codetr.models.heads.dense.box_coder import BoxCoder
from codetr.models.heads.dense.feature_maps import flatten_map, map_sizes
from codetr.models.losses.binary_cross_entropy import binary_cross_entropy_loss
from codetr.models.losses.l1 import l1_loss
from codetr.models.losses.normalizer import Normalizer
from codetr.models.structures import ImageBatch, Target
from codetr.ops.nms import batched_nms


@dataclass
class RegionProposals:
    """Region proposals of one image, in descending order of their scores.

    Attributes:
        boxes: (proposals, 4) xyxy pixels of the network's input, without gradient.
        scores: (proposals,) objectness in [0, 1].
    """

    boxes: Tensor
    scores: Tensor


class RPNHead(nn.Module):
    """Objectness logits and box deltas for anchors of several sizes and shapes at every cell.

    Args:
        config: anchors, sampling, loss weights and selection of proposals.
        channels: channels of all feature maps.
        strides: strides of the maps in pixels, fine to coarse.
    """

    def __init__(self, config: RPNConfig, channels: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.config = config
        self.anchors = AnchorGenerator(
            tuple(strides),
            config.ratios,
            octave_base_scale=config.octave_base_scale,
            scales_per_octave=config.scales_per_octave,
        )
        self.coder = BoxCoder()
        self.assign = MaxIoUAssigner(
            config.positive_iou, config.negative_iou, min_positive_iou=config.min_positive_iou, low_quality=True
        )
        self.sample = RandomSampler(config.samples, config.positive_fraction)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, self.anchors.anchors_per_cell, 1)
        self.deltas = nn.Conv2d(channels, self.anchors.anchors_per_cell * 4, 1)
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.normal_(parameter, std=0.01)
            else:
                nn.init.zeros_(parameter)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict logits (batch, anchors) and deltas (batch, anchors, 4) of every level, float32.

        Args:
            features: feature maps (batch, channels, height, width), fine to coarse.
        """
        hidden = [F.relu(self.conv(feature)) for feature in features]
        logits = [flatten_map(self.objectness(x), 1).squeeze(-1) for x in hidden]
        return logits, [flatten_map(self.deltas(x), 4) for x in hidden]

    def propose(self, features: Sequence[Tensor], batch: ImageBatch) -> list[RegionProposals]:
        """Return the proposals of every image at inference."""
        logits, deltas = self(features)
        anchors = self.anchors.grid(map_sizes(features), batch.pixels.device)
        return self._select(logits, deltas, anchors, batch, self.config.test_proposals)

    def loss(
        self,
        features: Sequence[Tensor],
        batch: ImageBatch,
        targets: Sequence[Target],
        normalizer: Normalizer,
        permute: Permute,
    ) -> tuple[dict[str, Tensor], list[RegionProposals]]:
        """Compute the losses `rpn.cls` and `rpn.box`, and the proposals to train the RoI head with.

        Args:
            features: feature maps (batch, channels, height, width), fine to coarse.
            batch: the images.
            targets: ground truth of every image; anchors outside an image's padded size are not used.
            normalizer: called once, with the number of sampled anchors.
            permute: draws which anchors are sampled.

        Returns:
            Weighted scalars by name, summed over levels, and the proposals of every image.
        """
        logits, deltas = self(features)
        sizes = map_sizes(features)
        anchors = self.anchors.grid(sizes, batch.pixels.device)
        losses = self._losses(
            torch.cat(logits, dim=1),
            torch.cat(deltas, dim=1),
            torch.cat(anchors),
            sizes,
            batch,
            targets,
            normalizer,
            permute,
        )
        return losses, self._select(logits, deltas, anchors, batch, self.config.train_proposals)

    def _losses(
        self,
        logits: Tensor,
        deltas: Tensor,
        anchors: Tensor,
        sizes: Sequence[tuple[int, int]],
        batch: ImageBatch,
        targets: Sequence[Target],
        normalizer: Normalizer,
        permute: Permute,
    ) -> dict[str, Tensor]:
        sampled_logits, target_objectness, sampled_deltas, target_deltas = [], [], [], []
        count = 0
        for image, target in enumerate(targets):
            inside = torch.cat(self.anchors.inside(sizes, batch.padded_sizes[image], anchors.device))
            assigned = self.assign(anchors[inside], target.boxes)
            positives, negatives = self.sample(assigned, permute)
            # As in the reference, an image without foreground (or background) counts one.
            count += max(len(positives), 1) + max(len(negatives), 1)
            foreground = inside[positives]
            sampled_logits += [logits[image, foreground], logits[image, inside[negatives]]]
            target_objectness += [torch.ones_like(sampled_logits[-2]), torch.zeros_like(sampled_logits[-1])]
            sampled_deltas.append(deltas[image, foreground])
            target_deltas.append(self.coder.encode(anchors[foreground], target.boxes[assigned[positives] - 1]))
        divisor = normalizer(count, logits.device)
        classification = binary_cross_entropy_loss(
            torch.cat(sampled_logits), torch.cat(target_objectness), None, divisor
        )
        box = l1_loss(torch.cat(sampled_deltas), torch.cat(target_deltas), None, divisor)
        return {
            "rpn.cls": self.config.classification_weight * classification,
            "rpn.box": self.config.box_weight * box,
        }

    @torch.no_grad()
    def _select(
        self,
        logits: Sequence[Tensor],
        deltas: Sequence[Tensor],
        anchors: Sequence[Tensor],
        batch: ImageBatch,
        config: ProposalConfig,
    ) -> list[RegionProposals]:
        """Return the best anchors of each level: decoded, clipped to the image, suppressed within levels."""
        scores, chosen_deltas, chosen_anchors, levels = [], [], [], []
        for level, level_logits in enumerate(logits):
            # A stable sort, so that saturated scores are picked in the same order on every machine.
            ranked, order = level_logits.sigmoid().sort(dim=1, descending=True, stable=True)
            order = order[:, : config.candidates]
            scores.append(ranked[:, : config.candidates])
            chosen_deltas.append(deltas[level].gather(1, order[..., None].expand(-1, -1, 4)))
            chosen_anchors.append(anchors[level][order])
            levels.append(torch.full_like(order, level))
        all_scores, all_levels = torch.cat(scores, dim=1), torch.cat(levels, dim=1)
        all_deltas, all_anchors = torch.cat(chosen_deltas, dim=1), torch.cat(chosen_anchors, dim=1)
        proposals = []
        for image, size in enumerate(batch.image_sizes):
            boxes = self.coder.decode(all_anchors[image], all_deltas[image], size)
            usable = ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).nonzero().squeeze(1)
            boxes = boxes[usable]
            kept_scores, kept = batched_nms(
                boxes,
                all_scores[image, usable],
                all_levels[image, usable],
                config.iou_threshold,
                limit=config.proposals,
            )
            proposals.append(RegionProposals(boxes[kept], kept_scores))
        return proposals
