"""The instance head: masks of an image do not depend on its batch or on chunks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from codetr.models.config import InstanceHeadConfig
from codetr.models.heads.instance.head import InstanceHead
from codetr.models.structures import Detections, ImageBatch
from tests.support.models.tiny_detector import random_batch


@pytest.fixture
def instance() -> tuple[InstanceHead, list[torch.Tensor], list[Detections], ImageBatch]:
    """A head, maps, detections of two images (in pixels of the originals) and the images."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    head = InstanceHead(InstanceHeadConfig(finest_scale=28, iou_fc_channels=16, samples=32), 3, 16, (8, 16)).eval()
    batch, _ = random_batch((0, 0))
    maps = [torch.randn(2, 16, 64 // stride, 96 // stride, generator=generator) for stride in (8, 16)]
    found = []
    for count in (5, 3):
        corners = 80 * torch.rand(count, 2, generator=generator)
        boxes = torch.cat((corners, corners + 20 + 60 * torch.rand(count, 2, generator=generator)), dim=1)
        labels = torch.randint(3, (count,), generator=generator)
        found.append(Detections(boxes, torch.rand(count, generator=generator), labels))
    return head, maps, found, batch


def test_masks_of_an_image_do_not_depend_on_its_batch(
    instance: tuple[InstanceHead, list[torch.Tensor], list[Detections], ImageBatch],
) -> None:
    """The official implementation mixes images up unless there is only one."""
    head, maps, found, batch = instance
    head.add_masks(maps, found, batch)
    for image, together in enumerate(found):
        part = slice(image, image + 1)
        alone = [Detections(together.boxes, together.scores, together.labels)]
        single = replace(
            batch,
            pixels=batch.pixels[part],
            image_sizes=batch.image_sizes[part],
            original_sizes=batch.original_sizes[part],
            scale_factors=batch.scale_factors[part],
        )
        head.add_masks([x[part] for x in maps], alone, single)
        assert together.masks is not None
        assert alone[0].masks is not None
        torch.testing.assert_close(alone[0].masks.probabilities, together.masks.probabilities)
        torch.testing.assert_close(alone[0].mask_scores, together.mask_scores)


def test_masks_a_few_at_a_time_are_the_same(
    instance: tuple[InstanceHead, list[torch.Tensor], list[Detections], ImageBatch],
) -> None:
    head, maps, found, batch = instance
    head.add_masks(maps, found, batch)
    at_once = [detections.masks for detections in found]
    head.add_masks(maps, found, batch, chunk=2)
    for detections, masks in zip(found, at_once, strict=True):
        assert detections.masks is not None
        assert masks is not None
        torch.testing.assert_close(detections.masks.probabilities, masks.probabilities)


def test_an_image_without_detections_has_no_masks(
    instance: tuple[InstanceHead, list[torch.Tensor], list[Detections], ImageBatch],
) -> None:
    head, maps, _, batch = instance
    nothing = [Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)) for _ in range(2)]
    head.add_masks(maps, nothing, batch)
    assert [len(detections.masks or ()) for detections in nothing] == [0, 0]
