"""Contrastive denoising queries (Zhang et al., "DINO", ICLR 2023, section 3.3).

Every object of an image is copied into several groups, twice in each: a positive copy, whose box is moved a
little and must find its object again, and a negative one, moved farther, that must say "nothing here".
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
    """Noisy queries in front of the matching ones, and what they should predict.

    Query (2 * group + negative) * slots + slot is a copy of the object in that slot, where `slots` is the largest
    number of objects in an image. Empty slots have the label of background and a box of zeros.

    Attributes:
        labels: (batch, queries) int64, noisy.
        boxes: (batch, queries, 4) noisy, normalised cxcywh.
        filled: (batch, queries) bool, False for empty slots.
        groups: number of groups.
        targets: what the queries should predict, for all layers.
        positives: number of positive copies in the batch.
    """

    labels: Tensor
    boxes: Tensor
    filled: Tensor
    groups: int
    targets: SetTargets
    positives: int

    def __len__(self) -> int:
        return self.labels.shape[1]

    def attention_mask(self, matching_queries: int) -> Tensor:
        """(queries, queries) over denoising then matching queries, True where a row must not see a column.

        Groups do not see each other, and matching queries see no denoising ones, which know the answers.
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
    """Draw the denoising queries of a batch; None when no image of it has objects.

    Args:
        targets: ground truth of every image.
        batch: the images.
        config: how many queries, how much noise.
        num_classes: label of background.
        draws: source of the noise.
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
    boxes = xyxy_to_cxcywh(torch.cat([target.boxes.float() for target in targets])) / batch.box_scales[image]

    noise = draws.denoising(2 * groups, objects, num_classes, device)
    noisy_labels = torch.where(noise.label_chance < config.label_noise / 2, noise.labels, labels)
    negative = torch.arange(2 * groups, device=device) % 2
    shifts = (noise.shifts + negative[:, None, None]) * noise.signs * boxes[:, 2:].repeat(1, 2) / 2
    noisy_boxes = xyxy_to_cxcywh((cxcywh_to_xyxy(boxes) + shifts * config.box_noise).clamp(0, 1))

    shape = (len(counts), 2 * groups, slots)
    query_labels = torch.full(shape, num_classes, device=device)
    query_boxes = torch.zeros(*shape, 4, device=device)
    filled = torch.zeros(shape, dtype=torch.bool, device=device)
    query_labels[image, :, slot] = noisy_labels.transpose(0, 1)
    query_boxes[image, :, slot] = noisy_boxes.transpose(0, 1)
    filled[image, :, slot] = True

    wanted_labels = torch.full(shape, num_classes, device=device)
    wanted_boxes = torch.zeros(*shape, 4, device=device)
    wanted_labels[image, ::2, slot] = labels[:, None]
    wanted_boxes[image, ::2, slot] = boxes[:, None]
    labels_of_queries = wanted_labels.flatten(1)[None]
    positive = (labels_of_queries < num_classes).float()
    wanted = SetTargets(labels_of_queries, wanted_boxes.flatten(1, 2)[None], torch.ones_like(positive), positive)
    return DenoisingQueries(
        query_labels.flatten(1), query_boxes.flatten(1, 2), filled.flatten(1), groups, wanted, groups * objects
    )
