"""The losses of a set of queries with known targets: classification, L1 and GIoU, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from codetr.models.boxes import cxcywh_to_xyxy, paired_iou, xyxy_to_cxcywh
from codetr.models.config import SetLossWeights
from codetr.models.heads.query.positive_queries import PositiveQueries
from codetr.models.losses.federated import exclude_classes
from codetr.models.losses.focal import sigmoid_focal_loss
from codetr.models.losses.giou import giou_loss
from codetr.models.losses.l1 import l1_loss
from codetr.models.losses.quality_focal import quality_focal_loss
from codetr.models.structures import ImageBatch, Target
from codetr.models.transformer.prediction_heads import QueryPredictions


@dataclass
class SetTargets:
    """Targets of every query in every layer. A leading axis of one stands for all layers.

    Attributes:
        labels: (layers, batch, queries) int64; the number of classes means background.
        boxes_cxcywh: (layers, batch, queries, 4) normalised; any value for background.
        label_weights: (layers, batch, queries).
        box_weights: (layers, batch, queries), zero for background.
    """

    labels: Tensor
    boxes_cxcywh: Tensor
    label_weights: Tensor
    box_weights: Tensor


def matched_targets(
    matches: Sequence[Tensor], targets: Sequence[Target], batch: ImageBatch, num_classes: int
) -> SetTargets:
    """Return the targets of matched queries.

    Args:
        matches: for every image (layers, queries) int64, index of the object of each query, -1 for none.
        targets: ground truth of every image.
        batch: the images.
        num_classes: label of background.
    """
    labels, boxes = [], []
    for match, target, scale in zip(matches, targets, batch.box_scales, strict=True):
        # An additional last row for background: the index -1 of an unmatched query selects it.
        gt_boxes_cxcywh = xyxy_to_cxcywh(target.boxes.float() / scale)
        boxes.append(torch.cat((gt_boxes_cxcywh, gt_boxes_cxcywh.new_zeros(1, 4)))[match])
        labels.append(torch.cat((target.labels, target.labels.new_full((1,), num_classes)))[match])
    stacked = torch.stack(labels, dim=1)
    positive = (stacked < num_classes).float()
    return SetTargets(stacked, torch.stack(boxes, dim=1), torch.ones_like(positive), positive)


def positive_query_targets(queries: PositiveQueries) -> SetTargets:
    """Return the targets of customised positive queries, the same for every layer."""
    return SetTargets(
        queries.labels[None],
        queries.target_boxes_cxcywh[None],
        queries.label_weights[None],
        queries.box_weights[None],
    )


class SetCriterion:
    """Weighted losses of queries.

    Args:
        classification: "focal" loss, or "quality" focal loss, whose target is the IoU with the object.
        weights: weights of the three losses.
        num_classes: classes without background.
    """

    def __init__(self, classification: Literal["focal", "quality"], weights: SetLossWeights, num_classes: int) -> None:
        self.classification, self.weights, self.num_classes = classification, weights, num_classes

    def __call__(
        self,
        names: Sequence[str],
        predictions: QueryPredictions,
        targets: SetTargets,
        batch: ImageBatch,
        divisor: Tensor,
        class_mask: Tensor | None = None,
        weight: float = 1.0,
    ) -> dict[str, Tensor]:
        """Return the losses `<name>.cls`, `<name>.l1` and `<name>.giou` of every layer, scalars.

        Args:
            names: names of the layers.
            predictions: predictions of the queries.
            targets: their targets.
            batch: the images, whose sizes convert boxes to pixels.
            divisor: number of positive queries of one layer, from a `Normalizer`.
            class_mask: (batch, classes) bool, classes that enter the classification loss of an image; None for all.
            weight: of all three losses, in addition to `weights`.
        """
        scale = batch.box_scales[:, None]
        losses = {}
        for layer, name in enumerate(names):
            # Targets that all layers share have one entry on the first axis.
            index = layer if len(targets.labels) > 1 else 0
            labels, label_weights = targets.labels[index].flatten(), targets.label_weights[index].flatten()
            logits = exclude_classes(predictions.logits[layer], class_mask)
            boxes_cxcywh, target_cxcywh = predictions.boxes_cxcywh[layer], targets.boxes_cxcywh[index]
            boxes_xyxy, target_xyxy = cxcywh_to_xyxy(boxes_cxcywh), cxcywh_to_xyxy(target_cxcywh)
            if self.classification == "focal":
                classification = sigmoid_focal_loss(logits.flatten(0, 1), labels, label_weights, divisor)
            else:
                overlaps = paired_iou(boxes_xyxy.detach(), target_xyxy).flatten()
                classification = quality_focal_loss(logits.flatten(0, 1), labels, overlaps, label_weights, divisor)
            box_weights = targets.box_weights[index].flatten()
            l1 = l1_loss(boxes_cxcywh.flatten(0, 1), target_cxcywh.flatten(0, 1), box_weights, divisor)
            pixels, target_pixels = (boxes_xyxy * scale).flatten(0, 1), (target_xyxy * scale).flatten(0, 1)
            giou = giou_loss(pixels, target_pixels, box_weights, divisor)
            losses[f"{name}.cls"] = self.weights.classification * classification * weight
            losses[f"{name}.l1"] = self.weights.l1 * l1 * weight
            losses[f"{name}.giou"] = self.weights.giou * giou * weight
        return losses
