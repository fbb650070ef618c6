"""Contrastive denoising queries (Zhang et al., "DINO", ICLR 2023, section 3.3).

Every object of an image is copied into several groups, twice in each: a positive copy, whose box is moved a little and
is to be restored, and a negative one, moved farther, that is to be classified as background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codetr.models.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from codetr.models.config import DenoisingConfig
from codetr.models.heads.query.set_criterion import SetTargets
from codetr.models.random_draws import RandomDraws
from codetr.models.structures import ImageBatch, Target


@dataclass
class DenoisingQueries:
    """Noisy queries, which precede the matching queries, and their targets.

    Query (2 * group + negative) * slots + slot is a copy of the object in that slot, where `slots` is the largest
    number of objects in an image. Empty slots have the label of background and a box of zeros.

    Attributes:
        labels: (batch, queries) int64, noisy.
        boxes_cxcywh: (batch, queries, 4) noisy, normalised.
        filled: (batch, queries) bool, False for empty slots.
        groups: number of groups.
        targets: targets of the queries, the same for all layers.
        positives: number of positive copies in the batch.
    """

    labels: Tensor
    boxes_cxcywh: Tensor
    filled: Tensor
    groups: int
    targets: SetTargets
    positives: int

    def __len__(self) -> int:
        return self.labels.shape[1]

    def attention_mask(self, matching_queries: int) -> Tensor:
        """Return the attention mask (queries, queries) of denoising, then matching queries.

        It is True where a row must not attend to a column: groups do not attend to each other, and matching queries do
        not attend to denoising queries, which contain the ground truth.
        """
        count = len(self)
        group = torch.arange(count, device=self.labels.device) // (count // self.groups)
        mask = torch.zeros(count + matching_queries, count + matching_queries, dtype=torch.bool, device=group.device)
        mask[:count, :count] = group[:, None] != group
        mask[count:, :count] = True
        return mask


def denoising_queries(
    targets: Sequence[Target], batch: ImageBatch, config: DenoisingConfig, num_classes: int, draws: RandomDraws
) -> DenoisingQueries | None:
    """Draw the denoising queries of a batch; None if no image has objects.

    Args:
        targets: ground truth of every image.
        batch: the images.
        config: number of queries, scale of the noise.
        num_classes: label of background.
        draws: source of random numbers.
    """
    counts = [len(target) for target in targets]
    slots, objects = max(counts), sum(counts)
    if slots == 0:
        return None
    groups = max(1, config.queries // slots)
    device = batch.pixels.device
    image = torch.tensor([index for index, count in enumerate(counts) for _ in range(count)], device=device)
    slot = torch.tensor([index for count in counts for index in range(count)], device=device)
    labels = torch.cat([target.labels for target in targets])
    boxes_cxcywh = xyxy_to_cxcywh(torch.cat([target.boxes.float() for target in targets])) / batch.box_scales[image]

    noise = draws.denoising(2 * groups, objects, num_classes, device)
    noisy_labels = torch.where(noise.label_chance < config.label_noise / 2, noise.labels, labels)
    negative = torch.arange(2 * groups, device=device) % 2
    shifts = (noise.shifts + negative[:, None, None]) * noise.signs * boxes_cxcywh[:, 2:].repeat(1, 2) / 2
    noisy_boxes = boxes_cxcywh.expand_as(shifts)
    if config.box_noise > 0:
        # As in the reference implementation, boxes without noise are not clipped to the image either.
        noisy_boxes = xyxy_to_cxcywh((cxcywh_to_xyxy(boxes_cxcywh) + shifts * config.box_noise).clamp(0, 1))

    shape = (len(counts), 2 * groups, slots)
    query_labels = torch.full(shape, num_classes, device=device)
    query_boxes = torch.zeros(*shape, 4, device=device)
    filled = torch.zeros(shape, dtype=torch.bool, device=device)
    query_labels[image, :, slot] = noisy_labels.transpose(0, 1)
    query_boxes[image, :, slot] = noisy_boxes.transpose(0, 1)
    filled[image, :, slot] = True

    # Even copies are positive; negative ones keep the label of background.
    target_labels = torch.full(shape, num_classes, device=device)
    target_boxes = torch.zeros(*shape, 4, device=device)
    target_labels[image, ::2, slot] = labels[:, None]
    target_boxes[image, ::2, slot] = boxes_cxcywh[:, None]
    target_labels = target_labels.flatten(1)[None]
    positive = (target_labels < num_classes).float()
    query_targets = SetTargets(target_labels, target_boxes.flatten(1, 2)[None], torch.ones_like(positive), positive)
    return DenoisingQueries(
        query_labels.flatten(1), query_boxes.flatten(1, 2), filled.flatten(1), groups, query_targets, groups * objects
    )
