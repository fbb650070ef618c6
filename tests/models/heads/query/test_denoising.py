"""Denoising queries: how many, how noisy, and what they may see."""

from __future__ import annotations

import pytest
import torch

from codetr.models.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from codetr.models.config import DenoisingConfig
from codetr.models.heads.query.denoising import denoising_queries
from codetr.models.random_draws import RandomDraws
from tests.support.models.tiny_detector import random_batch

CLASSES = 3


@pytest.mark.parametrize(("objects", "queries", "groups"), [((2, 5), 20, 4), ((2, 5), 3, 1), ((1, 0), 10, 10)])
def test_as_many_groups_as_fit_and_at_least_one(objects: tuple[int, ...], queries: int, groups: int) -> None:
    batch, targets = random_batch(objects)
    made = denoising_queries(targets, batch, DenoisingConfig(queries=queries), CLASSES, RandomDraws())
    assert made is not None
    assert made.groups == groups
    assert len(made) == 2 * groups * max(objects)
    assert made.positives == groups * sum(objects)
    assert made.filled.sum(dim=1).tolist() == [2 * groups * count for count in objects]


def test_nothing_to_denoise_without_objects() -> None:
    batch, targets = random_batch((0, 0))
    assert denoising_queries(targets, batch, DenoisingConfig(), CLASSES, RandomDraws()) is None


def test_corners_move_no_farther_than_the_noise_allows() -> None:
    """Positive copies by up to half the box, negative ones by between half and the whole, along each axis."""
    torch.manual_seed(0)
    batch, targets = random_batch((3, 2))
    made = denoising_queries(targets, batch, DenoisingConfig(queries=40, label_noise=0), CLASSES, RandomDraws())
    assert made is not None
    slots = 3
    for image, target in enumerate(targets):
        true = xyxy_to_cxcywh(target.boxes / batch.box_scales[image])
        copies = made.boxes_cxcywh[image].unflatten(0, (-1, slots))[:, : len(target)]
        moved = (cxcywh_to_xyxy(copies) - cxcywh_to_xyxy(true)).abs() / (true[:, 2:].repeat(1, 2) / 2)
        # Clamping to the image shortens some moves, never lengthens one.
        assert (moved[::2] <= 1 + 1e-4).all()
        assert (moved[1::2] <= 2 + 1e-4).all()
        inside = (cxcywh_to_xyxy(copies) > 0) & (cxcywh_to_xyxy(copies) < 1)
        assert (moved[1::2][inside[1::2]] >= 1 - 1e-4).all() or moved.shape[1] == 0
        labels = made.labels[image].unflatten(0, (-1, slots))[:, : len(target)]
        assert torch.equal(labels, target.labels.expand_as(labels))


def test_half_the_label_noise_is_the_share_of_replaced_labels() -> None:
    torch.manual_seed(0)
    batch, targets = random_batch((20, 20), num_classes=1000)
    made = denoising_queries(targets, batch, DenoisingConfig(queries=2000, label_noise=0.5), 1000, RandomDraws())
    assert made is not None
    true = torch.stack([target.labels for target in targets]).repeat(1, 2 * made.groups)
    assert (made.labels != true).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_matching_queries_see_no_denoising_query_and_groups_not_each_other() -> None:
    batch, targets = random_batch((2,))
    made = denoising_queries(targets, batch, DenoisingConfig(queries=6), CLASSES, RandomDraws())
    assert made is not None
    hidden = made.attention_mask(4)
    count = len(made)
    assert hidden[count:, :count].all()
    assert not hidden[:, count:].any()
    for row in range(count):
        for column in range(count):
            assert hidden[row, column].item() == (row // 4 != column // 4)


def test_without_box_noise_the_queries_are_the_objects_even_beyond_the_image() -> None:
    """The reference implementation clips only boxes that it has moved."""
    batch, targets = random_batch((2, 1))
    height, width = batch.image_sizes[0]
    targets[0].boxes[0] = torch.tensor([-10.0, -4.0, width + 6.0, height / 2])
    made = denoising_queries(targets, batch, DenoisingConfig(queries=4, box_noise=0), CLASSES, RandomDraws())
    assert made is not None
    copies = made.boxes_cxcywh[0].unflatten(0, (-1, 2))
    assert torch.equal(copies, xyxy_to_cxcywh(targets[0].boxes / batch.box_scales[0]).expand_as(copies))
