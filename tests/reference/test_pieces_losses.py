"""Boxes and losses against the official implementation's numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from codetr.models.boxes import giou_matrix, iou_matrix, paired_giou
from codetr.models.losses.binary_cross_entropy import binary_cross_entropy_loss
from codetr.models.losses.cross_entropy import cross_entropy_loss
from codetr.models.losses.focal import sigmoid_focal_loss
from codetr.models.losses.giou import giou_loss
from codetr.models.losses.l1 import l1_loss
from codetr.models.losses.quality_focal import quality_focal_loss


def check_loss(loss: Tensor, prediction: Tensor, expected: Tensor, expected_gradient: Tensor) -> None:
    """Values and gradients match."""
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(loss, prediction)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("piece", ["sigmoid_focal_loss"], indirect=True)
def test_focal_loss(piece: dict[str, Tensor]) -> None:
    logits = piece["pred"].requires_grad_()
    loss = sigmoid_focal_loss(
        logits,
        piece["label"],
        piece["weight"],
        float(piece["avg_factor"]),
        alpha=float(piece["alpha"]),
        gamma=float(piece["gamma"]),
    )
    check_loss(loss * float(piece["loss_weight"]), logits, piece["loss"], piece["grad_pred"])


@pytest.mark.parametrize("piece", ["quality_focal_loss"], indirect=True)
def test_quality_focal_loss(piece: dict[str, Tensor]) -> None:
    logits = piece["pred"].requires_grad_()
    loss = quality_focal_loss(
        logits, piece["label"], piece["score"], piece["weight"], float(piece["avg_factor"]), beta=float(piece["beta"])
    )
    check_loss(loss, logits, piece["loss"], piece["grad_pred"])


@pytest.mark.parametrize("piece", ["l1_loss"], indirect=True)
def test_l1_loss(piece: dict[str, Tensor]) -> None:
    prediction = piece["pred"].requires_grad_()
    # The official loss takes a weight per coordinate, of which only equal ones are ever used.
    weight = piece["weight"]
    losses = [
        l1_loss(prediction[:, [axis]], piece["target"][:, [axis]], weight[:, axis], float(piece["avg_factor"]))
        for axis in range(4)
    ]
    check_loss(torch.stack(losses).sum() * float(piece["loss_weight"]), prediction, piece["loss"], piece["grad_pred"])


@pytest.mark.parametrize("piece", ["giou_loss"], indirect=True)
def test_giou_loss(piece: dict[str, Tensor]) -> None:
    prediction = piece["pred"].requires_grad_()
    scale = float(piece["loss_weight"])
    loss = giou_loss(prediction, piece["target"], piece["weight_n4"].mean(dim=-1), float(piece["avg_factor"]))
    check_loss(loss * scale, prediction, piece["loss"], piece["grad_pred"])
    loss = giou_loss(prediction, piece["target"], piece["weight_n"], 1.0)
    check_loss(loss * scale, prediction, piece["loss_weight_n_avg1"], piece["grad_pred_weight_n"])


@pytest.mark.parametrize("piece", ["giou_loss"], indirect=True)
def test_overlaps(piece: dict[str, Tensor]) -> None:
    torch.testing.assert_close(iou_matrix(piece["pred"], piece["target"]), piece["iou_matrix"])
    torch.testing.assert_close(giou_matrix(piece["pred"], piece["target"]), piece["giou_matrix"])
    torch.testing.assert_close(paired_giou(piece["pred"], piece["target"]), piece["giou_aligned"])


@pytest.mark.parametrize("piece", ["rpn_bce_loss"], indirect=True)
def test_objectness_loss(piece: dict[str, Tensor]) -> None:
    logits = piece["pred"].requires_grad_()
    foreground = (piece["label"] == 0).float()
    loss = binary_cross_entropy_loss(logits[:, 0], foreground, piece["weight"], float(piece["avg_factor"]))
    check_loss(loss * float(piece["loss_weight"]), logits, piece["loss"], piece["grad_pred"])


@pytest.mark.parametrize("piece", ["centerness_bce_loss"], indirect=True)
def test_centerness_loss(piece: dict[str, Tensor]) -> None:
    logits = piece["pred"].requires_grad_()
    loss = binary_cross_entropy_loss(logits, piece["target"], None, float(piece["avg_factor"]))
    check_loss(loss * float(piece["loss_weight"]), logits, piece["loss"], piece["grad_pred"])


@pytest.mark.parametrize("piece", ["rcnn_ce_loss"], indirect=True)
def test_class_loss_of_the_roi_head(piece: dict[str, Tensor]) -> None:
    logits = piece["pred"].requires_grad_()
    loss = cross_entropy_loss(logits, piece["label"], piece["weight"], float(piece["avg_factor"]))
    check_loss(loss * float(piece["loss_weight"]), logits, piece["loss"], piece["grad_pred"])


@pytest.mark.parametrize("classes", [1, 5])
def test_losses_without_items_are_zero_and_differentiable(classes: int) -> None:
    """An image batch without objects must not turn a loss into NaN."""
    logits = torch.zeros(0, classes, requires_grad=True)
    labels = torch.zeros(0, dtype=torch.int64)
    loss = sigmoid_focal_loss(logits, labels, None, 1.0) + quality_focal_loss(logits, labels, torch.zeros(0), None, 1.0)
    boxes = torch.zeros(0, 4, requires_grad=True)
    loss = loss + l1_loss(boxes, boxes.detach(), None, 1.0) + giou_loss(boxes, boxes.detach(), None, 1.0)
    loss.backward()
    assert loss.item() == 0
