"""Masks between grids and pixels, where boxes are odd and images large."""

from __future__ import annotations

import pytest
import torch

from codetr.models.masks import RegionMasks, crop_masks, mask_fractions, paste_mask


def test_a_full_grid_fills_the_pixels_whose_centres_the_box_holds() -> None:
    mask = paste_mask(torch.ones(28, 28), (2.5, 1.2, 6.4, 3.0), (5, 8))
    expected = torch.zeros(5, 8, dtype=torch.bool)
    expected[1:3, 2:6] = True
    assert torch.equal(mask, expected)


@pytest.mark.parametrize(
    "box", [(100.0, 100.0, 120.0, 110.0), (-30.0, -30.0, -10.0, -10.0), (3.5, 1.0, 3.5, 4.0), (3.0, 4.0, 6.0, 4.0)]
)
def test_a_box_outside_the_image_or_without_extent_has_an_empty_mask(box: tuple[float, ...]) -> None:
    """Models of a fixed canvas detect in its padding; a division by a width of zero would paint whole rows."""
    assert not paste_mask(torch.ones(28, 28), box, (5, 8)).any()


def test_a_box_that_reaches_beyond_the_image_is_cut_off() -> None:
    grid = torch.zeros(2, 2)
    grid[1] = 1.0
    mask = paste_mask(grid, (-4.0, -4.0, 12.0, 4.0), (6, 8))
    assert mask.any(dim=1).tolist() == [True] * 4 + [False] * 2
    assert mask[:4].all()


def test_masks_are_selected_and_iterated_in_the_order_of_detections() -> None:
    grids = torch.stack([torch.full((4, 4), value) for value in (0.2, 0.9, 0.7)])
    boxes = torch.tensor([[0.0, 0, 4, 4], [1, 1, 3, 3], [2, 0, 8, 2]])
    masks = RegionMasks(grids, boxes, (5, 8))
    assert [int(mask.sum()) for mask in masks] == [0, 4, 12]
    assert torch.equal(torch.stack(list(masks)), masks.pasted())
    chosen = masks[torch.tensor([2, 1])]
    assert [int(mask.sum()) for mask in chosen] == [12, 4]
    assert masks[:0].pasted().shape == (0, 5, 8)


def test_cropping_in_chunks_changes_nothing() -> None:
    """Masks of large images are converted to float32 a few at a time."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(5, 40, 60, generator=generator) > 0.5
    corners = torch.rand(20, 2, generator=generator) * torch.tensor([40.0, 25.0])
    boxes = torch.cat((corners, corners + 2 + 15 * torch.rand(20, 2, generator=generator)), dim=1)
    object_indices = torch.randint(5, (20,), generator=generator)
    at_once = crop_masks(masks, boxes, object_indices, 14)
    assert at_once.any()
    assert torch.equal(crop_masks(masks, boxes, object_indices, 14, chunk=2 * 40 * 60), at_once)


def test_no_regions_and_no_objects() -> None:
    """An image without objects is trained on like any other."""
    masks, boxes, object_indices = (
        torch.zeros(0, 9, 9, dtype=torch.bool),
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.int64),
    )
    assert crop_masks(masks, boxes, object_indices, 28).shape == (0, 28, 28)
    assert mask_fractions(masks, boxes, object_indices).shape == (0,)
