"""Merging the detections of several views: which are matched, and what they become."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from codetr.inference import box_fusion as merging
from codetr.inference.box_fusion import suppress
from codetr.models.masks import RegionMasks
from codetr.models.structures import Detections

SIZE = (100, 100)


def fuse(views: list[Detections], iou_threshold: float, soft_threshold: float = 1.0) -> Detections:
    return merging.fuse(views, iou_threshold, soft_threshold)


def view(*found: tuple[list[float], float, int], masks: list[torch.Tensor] | None = None) -> Detections:
    """Detections of (box, score, label), with masks as grids over the boxes."""
    boxes = torch.tensor([box for box, _, _ in found], dtype=torch.float32).reshape(-1, 4)
    detections = Detections(
        boxes, torch.tensor([score for _, score, _ in found]), torch.tensor([label for _, _, label in found]).long()
    )
    if masks is not None:
        detections.masks = RegionMasks(torch.stack(masks), boxes, SIZE)
        detections.mask_scores = detections.scores / 2
    return detections


def random_view(seed: int) -> Detections:
    random = torch.Generator().manual_seed(seed)
    corners = torch.rand(30, 2, generator=random) * 60
    boxes = torch.cat((corners, corners + 5 + torch.rand(30, 2, generator=random) * 30), dim=1)
    scores = torch.rand(30, generator=random).sort(descending=True).values
    masks = RegionMasks(torch.rand(30, 8, 8, generator=random), boxes, SIZE)
    return Detections(boxes, scores, torch.randint(2, (30,), generator=random), masks, scores * 0.7)


@pytest.mark.parametrize("merge", [fuse, suppress])
def test_one_view_is_unchanged(merge: Callable[..., Detections]) -> None:
    """Boxes of one view that overlap are two objects for the model, and nothing may be rounded."""
    alone = random_view(0)
    merged = merge([alone], 0.5)
    assert torch.equal(merged.boxes, alone.boxes)
    assert torch.equal(merged.scores, alone.scores)
    assert torch.equal(merged.labels, alone.labels)
    assert merged.masks is not None
    assert alone.masks is not None
    assert torch.equal(merged.masks.probabilities, alone.masks.probabilities)
    assert merged.mask_scores is not None
    assert alone.mask_scores is not None
    assert torch.equal(merged.mask_scores, alone.mask_scores)


def test_the_same_view_twice_is_the_view_once() -> None:
    once = random_view(1)
    twice = fuse([once, once], 0.5)
    assert torch.allclose(twice.boxes, once.boxes, atol=1e-4)
    assert torch.allclose(twice.scores, once.scores)
    assert twice.masks is not None
    assert once.masks is not None
    assert torch.allclose(twice.masks.probabilities, once.masks.probabilities, atol=1e-3)
    assert torch.equal(suppress([once, once], 0.5).boxes, once.boxes)


def test_duplicates_become_one_and_others_stay() -> None:
    """An object detected twice is one true and one false positive; another class or position is another object."""
    first = view(([10, 10, 30, 30], 0.8, 0), ([60, 60, 90, 90], 0.6, 1))
    second = view(([12, 10, 32, 30], 0.4, 0), ([60, 60, 90, 90], 0.5, 0))
    fused = fuse([first, second], 0.5)
    assert fused.labels.tolist() == [0, 1]  # as many as the view with the most: the last, of one view only, is dropped
    assert torch.allclose(fused.scores, torch.tensor([0.6, 0.3]))
    # Two thirds of the way to the box with twice the score.
    assert torch.allclose(fused.boxes[0], torch.tensor([10 + 2 / 3, 10, 30 + 2 / 3, 30]))
    kept = suppress([first, second], 0.5)
    assert torch.allclose(kept.scores, torch.tensor([0.8, 0.6, 0.5]))
    assert kept.boxes[0].tolist() == [10, 10, 30, 30]


def test_an_object_takes_one_detection_of_each_view() -> None:
    """Two people in one view are not merged into the one blurred person of the other view."""
    sharp = view(([10, 10, 30, 50], 0.9, 0), ([16, 10, 36, 50], 0.8, 0))
    blurred = view(([12, 10, 32, 50], 0.95, 0))
    assert len(suppress([blurred, sharp], 0.5)) == 2
    fused = fuse([sharp, blurred], 0.5)
    assert torch.allclose(fused.scores, torch.tensor([0.925, 0.4]))


def test_objects_that_only_differ_between_views_lower_each_other() -> None:
    """Otherwise one object in one view and two in another would become three."""
    first = view(([10, 10, 30, 30], 0.9, 0))
    second = view(([10, 10, 30, 30], 0.8, 0), ([10, 10, 30, 27], 0.6, 0), ([10, 10, 30, 27], 0.6, 1))
    for found in (first, second):
        found.mask_scores = found.scores / 2
    fused = fuse([first, second], 0.5, 0.7)
    assert fused.labels.tolist() == [0, 1, 0]
    assert torch.allclose(fused.scores, torch.tensor([0.85, 0.3, 0.3 * 0.15]), atol=1e-4)
    assert fused.mask_scores is not None
    assert torch.allclose(fused.mask_scores, fused.scores / 2)


def test_masks_are_averaged_as_probabilities_in_the_frame_of_the_image() -> None:
    """Averaged cell by cell, grids over different boxes would be shifted against each other."""
    left_half = torch.zeros(8, 8)
    left_half[:, :4] = 1
    # Both say that x in 10..30 belongs to the object: the left half of one box, and the whole of the other.
    first = view(([10, 20, 50, 60], 0.6, 0), masks=[left_half])
    second = view(([10, 20, 30, 60], 0.6, 0), masks=[torch.ones(8, 8)])
    fused = fuse([first, second], 0.4)
    assert len(fused) == 1
    assert fused.masks is not None
    assert fused.mask_scores is not None
    (mask,) = fused.masks.pasted()
    assert mask[22:58, 12:28].all()  # apart from its edge, which is blurred
    assert not mask[:, 32:].any()
    assert torch.allclose(fused.mask_scores, torch.tensor([0.3]))


def test_masks_that_disagree_go_by_their_scores() -> None:
    sure = view(([10, 10, 30, 30], 0.9, 0), masks=[torch.ones(8, 8)])
    unsure = view(([10, 10, 30, 30], 0.3, 0), masks=[torch.zeros(8, 8)])
    fused = fuse([unsure, sure], 0.5)
    assert fused.masks is not None
    assert torch.allclose(fused.masks.probabilities, torch.full((1, 8, 8), 0.75), atol=1e-4)


@pytest.mark.parametrize("merge", [fuse, suppress])
def test_views_without_objects_are_views(merge: Callable[..., Detections]) -> None:
    """A view without detections still counts in the mean, and an image without objects is not an error."""
    nothing = view(masks=None)
    assert len(merge([nothing, nothing], 0.5)) == 0
    merged = merge([view(([10, 10, 30, 30], 0.8, 0)), nothing], 0.5)
    assert merged.scores.tolist() == pytest.approx([0.4 if merge is fuse else 0.8])
