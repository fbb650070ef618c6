"""Refinement of masks at their boundary."""

from __future__ import annotations

import torch

from codetr.models.losses.boundary import refine_masks


def test_refining_keeps_the_inside_of_the_coarse_mask_and_takes_the_boundary_of_the_fine_one() -> None:
    coarse = torch.full((1, 28, 28), -5.0)
    coarse[:, 7:21, 7:21] = 5.0
    refined = refine_masks([coarse, torch.full((1, 56, 56), 0.25)])[0]
    assert refined[28, 28] == 5.0
    assert refined[2, 2] == -5.0
    assert refined[14, 28] == 0.25
