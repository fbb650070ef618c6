"""Torchvision's NMS and RoIAlign, without an import of its package where the compiled operators are enough.

The package imports the machinery of `torch.compile`, which takes as long as importing PyTorch. To the operators it adds
gradients, autocast, shapes for exported programs, and deterministic variants. Predictions need none of them.
"""

from __future__ import annotations

from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor


def nms(boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the indices (kept,) int64 of the boxes that no better one overlaps by more than a threshold, best first.

    Args:
        boxes_xyxy: (n, 4), any unit.
        scores: (n,).
        iou_threshold: IoU above which the box with the lower score is dropped.
    """
    if _needs_package(boxes_xyxy.device):
        # Takes two seconds, and is imported already where this branch is usual.
        from torchvision import ops

        return ops.nms(boxes_xyxy, scores, iou_threshold)
    _load_operators()
    return torch.ops.torchvision.nms(boxes_xyxy, scores, iou_threshold)


def roi_align(features: Tensor, rois: Tensor, size: int, spatial_scale: float) -> Tensor:
    """Sample the features (regions, channels, size, size) of regions (He et al., "Mask R-CNN", ICCV 2017).

    The centres of pixels lie at half-integers, and a cell is sampled as densely as the feature map.

    Args:
        features: (batch, channels, height, width).
        rois: (regions, 5): the index of the image and xyxy.
        size: cells per side of a region.
        spatial_scale: cells of the feature map per unit of the boxes.
    """
    if _needs_package(features.device):
        # See `nms`.
        from torchvision import ops

        return ops.roi_align(features, rois, size, spatial_scale, sampling_ratio=0, aligned=True)
    _load_operators()
    return torch.ops.torchvision.roi_align(features, rois, spatial_scale, size, size, 0, True)


def _needs_package(device: torch.device) -> bool:
    return (
        torch.is_grad_enabled()
        or torch.is_autocast_enabled(device.type)
        or torch.are_deterministic_algorithms_enabled()
        or torch.compiler.is_compiling()
    )


@cache
def _load_operators() -> None:
    """Load torchvision's library of operators, as an import of its package does.

    Raises:
        ModuleNotFoundError: torchvision is not installed, or was built without its operators.
    """
    package = find_spec("torchvision")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")
    torch.ops.load_library(operator_library(Path(package.origin).parent))


def operator_library(folder: Path) -> str:
    """Return the file of torchvision's operators.

    Args:
        folder: of the package torchvision.

    Raises:
        ModuleNotFoundError: there is none.
    """
    # That of an earlier version may be left beside the one since torchvision 0.29, which comes first.
    for name in ("_C_stable", "_C"):
        if (found := FileFinder(str(folder), (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec(name)) is not None:
            assert found.origin is not None
            return found.origin
    problem = f"{folder} has no compiled operators: install the torchvision that belongs to this version of PyTorch"
    raise ModuleNotFoundError(problem, name="torchvision")
