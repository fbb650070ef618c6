"""The one-stage detection head of ATSS (Zhang et al., CVPR 2020), with centerness (Tian et al., "FCOS", ICCV 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codetr.models.assignment.atss import ATSSAssigner
from codetr.models.assignment.random_sampler import Permute
from codetr.models.config import ATSSHeadConfig
from codetr.models.heads.dense.anchors import AnchorGenerator
from codetr.models.heads.dense.box_coder import BoxCoder
from codetr.models.heads.dense.feature_maps import flatten_map, map_sizes, top_indices
from codetr.models.heads.query.positive_queries import PositiveQueries, sample_positive_queries
from codetr.models.layers.conv import ConvNorm
from codetr.models.layers.initialisation import PRIOR_LOGIT
from codetr.models.losses.binary_cross_entropy import binary_cross_entropy_loss
from codetr.models.losses.federated import exclude_classes
from codetr.models.losses.focal import sigmoid_focal_loss
from codetr.models.losses.giou import giou_loss
from codetr.models.losses.normalizer import Normalizer
from codetr.models.structures import Detections, ImageBatch, Target
from codetr.ops.nms import batched_nms


@dataclass
class ATSSOutput:
    """Predictions at every cell of every level, float32; lists run over levels.

    Attributes:
        logits: (batch, cells, classes).
        deltas: (batch, cells, 4).
        centerness: (batch, cells) logits.
    """

    logits: list[Tensor]
    deltas: list[Tensor]
    centerness: list[Tensor]


@dataclass
class ATSSTargets:
    """Targets of every cell of every image; cells of all levels one after the other.

    Attributes:
        anchors: (batch, cells, 4) xyxy pixels, zeros outside the image.
        labels: (batch, cells) int64; the number of classes means background.
        boxes: (batch, cells, 4) xyxy pixels of the object, zeros for background.
        weights: (batch, cells), 0 outside the image.
        foreground: (batch,) number of foreground cells of every image.
    """

    anchors: Tensor
    labels: Tensor
    boxes: Tensor
    weights: Tensor
    foreground: Tensor


def centerness_targets(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Return the centerness (n,) in (0, 1] of anchors: 1 in the centre of the object, lower near its edges.

    Args:
        anchors: (n, 4) xyxy pixels.
        boxes: (n, 4) xyxy pixels, box of the object of each anchor.
    """
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    before, after = centers - boxes[:, :2], boxes[:, 2:] - centers
    return (torch.minimum(before, after) / torch.maximum(before, after)).prod(dim=-1).sqrt()


class ATSSHead(nn.Module):
    """Class logits, box deltas and centerness for one square anchor per cell.

    Args:
        config: sizes, assignment, loss weights and test-time settings.
        num_classes: classes without background.
        channels: channels of all feature maps.
        strides: strides of the maps in pixels, fine to coarse.
        groups: groups of the normalisations.
    """

    def __init__(
        self, config: ATSSHeadConfig, num_classes: int, channels: int, strides: Sequence[int], groups: int = 32
    ) -> None:
        super().__init__()
        self.config, self.num_classes = config, num_classes
        self.anchors = AnchorGenerator(tuple(strides), octave_base_scale=config.octave_base_scale)
        self.coder = BoxCoder(config.delta_stds)
        self.assign = ATSSAssigner(config.assigner_candidates)

        def branch() -> nn.ModuleList:
            return nn.ModuleList(
                ConvNorm(channels, channels, groups=groups, kernel_size=3) for _ in range(config.stacked_convs)
            )

        self.class_convs, self.box_convs = branch(), branch()
        self.classifier = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.deltas = nn.Conv2d(channels, 4, 3, padding=1)
        self.centerness = nn.Conv2d(channels, 1, 3, padding=1)
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in strides)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.constant_(self.classifier.get_parameter("bias"), PRIOR_LOGIT)

    def forward(self, features: Sequence[Tensor]) -> ATSSOutput:
        """Predict from feature maps (batch, channels, height, width), fine to coarse."""
        output = ATSSOutput([], [], [])
        for feature, scale in zip(features, self.scales, strict=True):
            class_features = box_features = feature
            for conv in self.class_convs:
                class_features = F.relu(conv(class_features))
            for conv in self.box_convs:
                box_features = F.relu(conv(box_features))
            output.logits.append(flatten_map(self.classifier(class_features), self.num_classes))
            output.deltas.append(flatten_map(self.deltas(box_features), 4) * scale)
            output.centerness.append(flatten_map(self.centerness(box_features), 1).squeeze(-1))
        return output

    def loss(
        self,
        features: Sequence[Tensor],
        batch: ImageBatch,
        targets: Sequence[Target],
        normalizer: Normalizer,
        permute: Permute,
        class_mask: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], PositiveQueries]:
        """Compute the losses `atss.cls`, `atss.giou` and `atss.centerness`, and sample anchors as positive queries.

        Args:
            features: feature maps (batch, channels, height, width), fine to coarse.
            batch: the images.
            targets: ground truth of every image; anchors outside an image's padded size are not used.
            normalizer: called with the number of foreground cells, then with the sum of their centerness.
            permute: draws which anchors become queries.
            class_mask: (batch, classes) bool, classes that enter the classification loss of an image; None for all.

        Returns:
            Weighted scalars by name, summed over levels, and the queries.
        """
        output = self(features)
        cells = self.targets(map_sizes(features), batch, targets)
        labels = cells.labels.flatten()
        foreground = (labels < self.num_classes).nonzero().squeeze(1)
        anchors, target_boxes = cells.anchors.flatten(0, 1)[foreground], cells.boxes.flatten(0, 1)[foreground]
        decoded = self.coder.decode(anchors, torch.cat(output.deltas, dim=1).flatten(0, 1)[foreground])
        centerness = centerness_targets(anchors, target_boxes)
        count = normalizer(cells.foreground.clamp(min=1).sum(), labels.device)
        total_centerness = normalizer(centerness.sum(), labels.device)
        logits = exclude_classes(torch.cat(output.logits, dim=1), class_mask)
        classification = sigmoid_focal_loss(logits.flatten(0, 1), labels, cells.weights.flatten(), count)
        giou = giou_loss(decoded, target_boxes, centerness, total_centerness)
        centerness_loss = binary_cross_entropy_loss(
            torch.cat(output.centerness, dim=1).flatten()[foreground], centerness, None, count
        )
        losses = {
            "atss.cls": self.config.classification_weight * classification,
            "atss.giou": self.config.giou_weight * giou,
            "atss.centerness": self.config.centerness_weight * centerness_loss,
        }
        queries = sample_positive_queries(
            cells.anchors,
            cells.labels,
            cells.boxes,
            torch.cat([feature.flatten(2) for feature in features], dim=2).transpose(1, 2).float(),
            batch.image_sizes,
            num_classes=self.num_classes,
            limit=self.config.max_auxiliary_queries,
            permute=permute,
            padding=self.config.auxiliary_padding,
        )
        return losses, queries

    def targets(self, sizes: Sequence[tuple[int, int]], batch: ImageBatch, targets: Sequence[Target]) -> ATSSTargets:
        """Assign the cells of every image to objects.

        Args:
            sizes: (height, width) in cells of every level.
            batch: the images.
            targets: ground truth of every image.
        """
        device = batch.pixels.device
        grid = torch.cat(self.anchors.grid(sizes, device))
        shape = len(targets), len(grid)
        cells = ATSSTargets(
            grid.new_zeros(*shape, 4),
            torch.full(shape, self.num_classes, device=device),
            grid.new_zeros(*shape, 4),
            grid.new_zeros(shape),
            torch.zeros(len(targets), device=device),
        )
        for image, target in enumerate(targets):
            levels = self.anchors.inside(sizes, batch.padded_sizes[image], device)
            inside = torch.cat(levels)
            anchors = grid[inside]
            assigned = self.assign(anchors, [len(level) for level in levels], target.boxes)
            cells.anchors[image, inside] = anchors
            cells.weights[image, inside] = 1
            cells.foreground[image] = (assigned > 0).sum()
            # Row 0 stands for background, which avoids a synchronisation with the device.
            cells.boxes[image, inside] = F.pad(target.boxes, (0, 0, 1, 0))[assigned]
            cells.labels[image, inside] = F.pad(target.labels, (1, 0), value=self.num_classes)[assigned]
        return cells

    @torch.no_grad()
    def detect(self, features: Sequence[Tensor], batch: ImageBatch) -> list[Detections]:
        """Return the detections of every image in pixels of the original image, scores descending."""
        output = self(features)
        grid = self.anchors.grid(map_sizes(features), batch.pixels.device)
        return [self._detect(output, grid, batch, image) for image in range(len(batch))]

    def _detect(self, output: ATSSOutput, grid: Sequence[Tensor], batch: ImageBatch, image: int) -> Detections:
        """Return the detections of one image: the best (cell, class) pairs of each level, after suppression.

        Pairs are selected by their scores alone; scores are multiplied by the centerness afterwards.
        """
        boxes, scores, labels = [], [], []
        for level, anchors in enumerate(grid):
            level_scores = output.logits[level][image].sigmoid().flatten()
            selected = top_indices(level_scores, self.config.candidates, self.config.score_threshold)
            cells = selected // self.num_classes
            boxes.append(
                self.coder.decode(anchors[cells], output.deltas[level][image, cells], batch.image_sizes[image])
            )
            scores.append(level_scores[selected] * output.centerness[level][image, cells].sigmoid())
            labels.append(selected % self.num_classes)
        all_boxes, all_labels = batch.to_original_pixels(torch.cat(boxes), image), torch.cat(labels)
        kept_scores, kept = batched_nms(
            all_boxes,
            torch.cat(scores),
            all_labels,
            self.config.nms.iou_threshold,
            method=self.config.nms.method,
            min_score=self.config.nms.min_score,
            limit=self.config.max_detections,
        )
        return Detections(all_boxes[kept], kept_scores, all_labels[kept])
