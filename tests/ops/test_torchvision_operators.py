"""Torchvision's operators, whether their package is imported or not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision import ops

from codetr.ops.torchvision_operators import nms, operator_library, roi_align


@pytest.fixture
def features() -> Tensor:
    return torch.randn(2, 3, 20, 30, generator=torch.Generator().manual_seed(0))


ROIS = torch.tensor([[0, 1.3, 2.1, 40.2, 17.7], [1, -5.0, 3.0, 90.0, 99.0], [1, 9.0, 9.0, 9.0, 9.0]])


def test_roi_align_is_torchvisions_with_gradients_and_without(features: Tensor) -> None:
    """Other sampling would change the features of every region; a lost gradient would stop training of the backbone."""
    features.requires_grad_()
    expected = ops.roi_align(features, ROIS, 7, 0.5, sampling_ratio=0, aligned=True)
    found = roi_align(features, ROIS, 7, 0.5)
    assert torch.equal(found, expected)
    (gradient,) = torch.autograd.grad(found.square().sum(), features)
    assert torch.equal(gradient, *torch.autograd.grad(expected.square().sum(), features))
    with torch.no_grad():
        assert torch.equal(roi_align(features, ROIS, 7, 0.5), expected)


@torch.no_grad()
def test_autocast_samples_in_float32(features: Tensor) -> None:
    """The compiled operator takes one dtype for features and regions, and bfloat16 is too coarse for coordinates."""
    with torch.autocast("cpu", torch.bfloat16):
        found = roi_align(features.bfloat16(), ROIS, 7, 0.5)
    expected = roi_align(features.bfloat16().float(), ROIS, 7, 0.5)
    assert torch.equal(found, expected.bfloat16())


@torch.no_grad()
def test_nms_is_torchvisions() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(200, 2, generator=generator)
    boxes, scores = torch.cat([corners, corners + 0.2], dim=1), torch.rand(200, generator=generator)
    assert torch.equal(nms(boxes, scores, 0.4), ops.nms(boxes, scores, 0.4))


WITHOUT_PACKAGE = """
import sys
import torch
from codetr.ops.torchvision_operators import nms, roi_align
features, rois = torch.ones(1, 1, 8, 8), torch.tensor([[0, 1.0, 1.0, 5.0, 5.0]])
with torch.no_grad():
    assert nms(rois[:, 1:], torch.ones(1), 0.5).tolist() == [0]
    without = roi_align(features, rois, 2, 1.0)
assert "torchvision" not in sys.modules
features.requires_grad_()
found = roi_align(features, rois, 2, 1.0)
found.sum().backward()
assert "torchvision" in sys.modules
assert torch.equal(found, without) and abs(features.grad.sum() - 4) < 1e-6
"""


@pytest.mark.process
def test_the_package_is_imported_where_gradients_need_it() -> None:
    """After the library was loaded without it, as in a validation before the first step."""
    subprocess.run([sys.executable, "-c", WITHOUT_PACKAGE], check=True)


def test_the_library_is_found_by_its_names(tmp_path: Path) -> None:
    """A file that an upgrade has left, or debug symbols, ended predictions with "too many values to unpack"."""
    (tmp_path / "_C.so.debug").touch()
    with pytest.raises(ModuleNotFoundError, match="has no compiled operators: install the torchvision that belongs"):
        operator_library(tmp_path)
    for name in ("_C.abi3.so", "_C_stable.so"):
        (tmp_path / name).touch()
        assert operator_library(tmp_path) == str(tmp_path / name)
