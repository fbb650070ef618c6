"""Masks cut out for training, pasted into images, and their losses, against the official implementation's numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from codetr.models.losses.boundary import boundary_aware_losses, boundary_region
from codetr.models.losses.mask import mask_loss
from codetr.models.losses.normalizer import Normalizer
from codetr.models.masks import RegionMasks, crop_masks, mask_fractions


@pytest.mark.parametrize("piece", ["mask_crop_and_resize"], indirect=True)
@pytest.mark.parametrize("size", [14, 28, 56, 112])
def test_targets_of_regions(piece: dict[str, Tensor], size: int) -> None:
    """Every cell of every region, at every resolution that some head is trained at."""
    cropped = crop_masks(piece["gt_masks"], piece["proposals"], piece["inds"], size)
    assert torch.equal(cropped, piece[f"resized{size}"])


@pytest.mark.parametrize("piece", ["mask_crop_and_resize"], indirect=True)
def test_share_of_an_object_within_a_region(piece: dict[str, Tensor]) -> None:
    shares = mask_fractions(piece["gt_masks"], piece["proposals"], piece["inds"])
    torch.testing.assert_close(shares, piece["maskiou_area_ratio"])


@pytest.mark.parametrize("piece", ["mask_paste"], indirect=True)
def test_pasting(piece: dict[str, Tensor]) -> None:
    """Every pixel, also of a box that reaches beyond the image."""
    height, width = piece["img_hw"].tolist()
    masks = RegionMasks(piece["masks"][:, 0], piece["boxes"], (height, width))
    assert torch.equal(masks.pasted(), piece["thresholded"])


@pytest.mark.parametrize("piece", ["mask_bce_loss"], indirect=True)
def test_mask_loss(piece: dict[str, Tensor]) -> None:
    logits = piece["pred"].requires_grad_()
    of_class = logits[torch.arange(len(logits)), piece["label"]]
    loss = float(piece["loss_weight"]) * mask_loss(of_class, piece["target"], len(logits))
    torch.testing.assert_close(loss[None], piece["loss"])
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, piece["grad_pred"])


@pytest.mark.parametrize("piece", ["generate_block_target"], indirect=True)
@pytest.mark.parametrize("width", [1, 2])
def test_boundaries(piece: dict[str, Tensor], width: int) -> None:
    """Both widths that are used: one when masks are refined, two in the loss."""
    assert torch.equal(boundary_region(piece["mask"], width), piece[f"width{width}"] == 1)


@pytest.mark.parametrize("piece", ["bar_cross_entropy_loss"], indirect=True)
def test_boundary_aware_loss(piece: dict[str, Tensor]) -> None:
    stages = [piece[f"pred{stage}"].requires_grad_() for stage in range(4)]
    targets = [piece[f"target{stage}"] for stage in range(4)]
    losses = boundary_aware_losses([logits[:, 0] for logits in stages], targets, Normalizer())
    loss = torch.stack(losses) @ torch.tensor([0.5, 0.75, 0.75, 1.0])
    torch.testing.assert_close(loss, piece["loss"])
    for stage, gradient in enumerate(torch.autograd.grad(loss, stages)):
        torch.testing.assert_close(gradient, piece[f"grad{stage}"])
