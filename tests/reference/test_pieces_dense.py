"""Anchors, assigners, box coding, pooling and suppression against the official implementation's numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from codetr.models.assignment.atss import ATSSAssigner
from codetr.models.assignment.max_iou import MaxIoUAssigner
from codetr.models.heads.dense.anchors import AnchorGenerator
from codetr.models.heads.dense.box_coder import BoxCoder
from codetr.models.heads.roi.pooling import pool_regions, pooling_levels
from codetr.ops.nms import SuppressionMethod, batched_nms, multiclass_nms
from codetr.ops.soft_nms import soft_nms


def feature_sizes(case: dict[str, Tensor]) -> list[tuple[int, int]]:
    return [(int(height), int(width)) for height, width in case["featmap_sizes"]]


def check_kept(expected_detections: Tensor, expected_kept: Tensor, scores: Tensor, kept: Tensor) -> None:
    """The same boxes in the same order, with the same scores."""
    assert kept.tolist() == expected_kept.tolist()
    torch.testing.assert_close(scores, expected_detections[:, 4], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("piece", ["anchors_rpn"], indirect=True)
def test_anchors_of_the_rpn(piece: dict[str, Tensor]) -> None:
    generator = AnchorGenerator((8, 16, 32, 64, 128), (0.5, 1.0, 2.0), octave_base_scale=4, scales_per_octave=3)
    for level, anchors in enumerate(generator.grid(feature_sizes(piece))):
        torch.testing.assert_close(generator.base_anchors(level), piece["base_anchors"][level], rtol=0, atol=0)
        torch.testing.assert_close(anchors, piece[f"anchors{level}"], rtol=0, atol=0)


@pytest.mark.parametrize("piece", ["anchors_atss"], indirect=True)
def test_anchors_of_atss(piece: dict[str, Tensor]) -> None:
    generator = AnchorGenerator((4, 8, 16, 32, 64, 128))
    sizes = feature_sizes(piece)
    height, width = piece["pad_shape"].tolist()
    for level, anchors in enumerate(generator.grid(sizes)):
        torch.testing.assert_close(generator.base_anchors(level), piece["base_anchors"][level], rtol=0, atol=0)
        torch.testing.assert_close(anchors, piece[f"anchors{level}"], rtol=0, atol=0)
    inside = torch.cat(generator.inside(sizes, (height, width)))
    expected = torch.cat([piece[f"valid{level}"] for level in range(len(sizes))])
    assert torch.equal(inside, expected.nonzero().squeeze(1))


@pytest.mark.parametrize("piece", [f"delta_xywh_coder_{head}" for head in ("rpn", "rcnn", "vit_rcnn")], indirect=True)
def test_box_coder(piece: dict[str, Tensor]) -> None:
    x, y, width, height = piece["stds"].tolist()
    coder = BoxCoder((x, y, width, height))
    rows, columns = piece["max_shape"].tolist()
    references, deltas = piece["rois"][:, None], piece["deltas"].reshape(-1, 3, 4)
    torch.testing.assert_close(coder.decode(references, deltas).flatten(1), piece["decoded_noclip"])
    torch.testing.assert_close(
        coder.decode(references, deltas, (rows, columns)).flatten(1), piece["decoded_clipped"], rtol=1e-5, atol=1e-4
    )
    torch.testing.assert_close(coder.encode(piece["rois"], piece["gt"]), piece["encoded"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("piece", ["max_iou_assigner_rpn"], indirect=True)
@pytest.mark.parametrize("chunk", [2**18, 1000], ids=["at once", "in chunks"])
def test_assignment_of_anchors_by_overlap(piece: dict[str, Tensor], chunk: int) -> None:
    """Chunks of anchors must not change which anchor is an object's best."""
    assign = MaxIoUAssigner(0.7, 0.3, min_positive_iou=0.3, low_quality=True, chunk=chunk)
    assert torch.equal(assign(piece["bboxes"], piece["gt_bboxes"]), piece["gt_inds"])


@pytest.mark.parametrize("piece", ["max_iou_assigner_rcnn"], indirect=True)
def test_assignment_of_proposals_by_overlap(piece: dict[str, Tensor]) -> None:
    assign = MaxIoUAssigner(0.5, 0.5)
    assert torch.equal(assign(piece["bboxes"], piece["gt_bboxes"]), piece["gt_inds"])


@pytest.mark.parametrize("piece", ["atss_assigner"], indirect=True)
def test_assignment_of_atss(piece: dict[str, Tensor]) -> None:
    assigned = ATSSAssigner(9)(piece["anchors"], piece["num_level_anchors"].tolist(), piece["gt_bboxes"])
    assert torch.equal(assigned, piece["gt_inds"])


@pytest.mark.parametrize("piece", ["nms_family"], indirect=True)
@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_nms_within_classes(piece: dict[str, Tensor], threshold: float) -> None:
    name = f"batched_nms{threshold}"
    scores, kept = batched_nms(piece["boxes"], piece["scores"], piece["labels"], threshold)
    check_kept(piece[f"{name}_dets"], piece[f"{name}_keep"], scores, kept)
    everything = torch.zeros_like(piece["labels"])
    scores, kept = batched_nms(piece["boxes"], piece["scores"], everything, threshold)
    check_kept(piece[f"nms{threshold}_dets"], piece[f"nms{threshold}_keep"], scores, kept)


@pytest.mark.parametrize("piece", ["nms_family"], indirect=True)
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_soft_nms(piece: dict[str, Tensor], threshold: float) -> None:
    scores, kept = soft_nms(piece["boxes"], piece["scores"], threshold)
    check_kept(piece[f"soft_nms{threshold}_dets"], piece[f"soft_nms{threshold}_keep"], scores, kept)
    name = f"batched_soft_nms{threshold}"
    scores, kept = batched_nms(piece["boxes"], piece["scores"], piece["labels"], threshold, method="soft_nms")
    check_kept(piece[f"{name}_dets"], piece[f"{name}_keep"], scores, kept)


@pytest.mark.parametrize("piece", ["nms_family"], indirect=True)
def test_soft_nms_drops_low_scores(piece: dict[str, Tensor]) -> None:
    scores, kept = soft_nms(piece["boxes"], piece["scores"], 0.5, min_score=0.05)
    check_kept(piece["soft_nms0.5_min0.05_dets"], piece["soft_nms0.5_min0.05_keep"], scores, kept)


@pytest.mark.parametrize("piece", ["nms_family"], indirect=True)
@pytest.mark.parametrize("method", ["nms", "soft_nms"])
def test_class_by_class_suppression_of_many_boxes(piece: dict[str, Tensor], method: SuppressionMethod) -> None:
    boxes, scores, labels = piece["boxes"], piece["scores"], piece["labels"]
    scores, kept = batched_nms(boxes, scores, labels, 0.5, method=method, split_threshold=1)
    check_kept(piece[f"batched_{method}0.5_split_dets"], piece[f"batched_{method}0.5_split_keep"], scores, kept)


@pytest.mark.parametrize("piece", ["multiclass_nms"], indirect=True)
def test_suppression_over_all_classes(piece: dict[str, Tensor]) -> None:
    boxes = piece["multi_bboxes"].reshape(len(piece["multi_bboxes"]), -1, 4)
    found, scores, labels = multiclass_nms(boxes, piece["multi_scores"][:, :-1], 0.5, limit=len(piece["dets"]))
    torch.testing.assert_close(torch.cat((found, scores[:, None]), dim=1), piece["dets"])
    assert torch.equal(labels, piece["labels"])
    found, scores, labels = multiclass_nms(
        boxes[:, :1],
        piece["multi_scores"][:, :-1],
        0.5,
        score_threshold=0.2,
        method="soft_nms",
        limit=len(piece["agnostic_soft_thr0p2_dets"]),
    )
    torch.testing.assert_close(torch.cat((found, scores[:, None]), dim=1), piece["agnostic_soft_thr0p2_dets"])
    assert torch.equal(labels, piece["agnostic_soft_thr0p2_labels"])


@pytest.mark.parametrize("piece", ["roi_align"], indirect=True)
def test_pooling_of_one_level(piece: dict[str, Tensor]) -> None:
    """Values and gradients: torchvision's operator and mmcv's are two implementations."""
    feature = piece["feat"].requires_grad_()
    pooled = pool_regions(
        [feature],
        [round(1 / float(piece["spatial_scale"]))],
        piece["rois"],
        size=int(piece["output_size"]),
        finest_scale=56,
    )
    torch.testing.assert_close(pooled, piece["output"], rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(pooled, feature, piece["grad_output"])
    torch.testing.assert_close(gradient, piece["grad_feat"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("piece", ["single_roi_extractor"], indirect=True)
def test_pooling_from_the_level_that_suits_the_size(piece: dict[str, Tensor]) -> None:
    features = [piece[f"feat{level}"] for level in range(5)]
    finest = float(piece["finest_scale"])
    assert torch.equal(pooling_levels(piece["rois"][:, 1:], len(features), finest), piece["levels"])
    pooled = pool_regions(features, (4, 8, 16, 32, 64), piece["rois"], size=7, finest_scale=finest)
    torch.testing.assert_close(pooled, piece["output"], rtol=1e-5, atol=1e-5)
